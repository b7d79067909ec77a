package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"riverwatch/uptime"
)

// A visit is a request on the way to the answer that is judged.
type visit struct {
	method, url string
	elsewhere   bool // the redirects have left the first origin: nothing goes there that was meant for it
}

type httpProtocol struct{}

func (httpProtocol) mayRepeat(target Target) bool { return isSafe(target.Method) }

func (httpProtocol) rest(u *url.URL) (string, error) { return pathAndQuery(u), nil }

// ask goes from hop to hop, until there is a verdict.
func (httpProtocol) ask(ctx context.Context, a *attempt, _ *url.URL) verdict {
	this := visit{method: a.target.Method, url: a.target.URL}
	seen := map[visit]bool{this: true}
	for {
		next, v := a.visit(ctx, this)
		if next == nil {
			return v
		}
		request := visit{method: next.method, url: next.url}
		if seen[request] {
			return verdict{uptime.RedirectLoop, "the redirects lead back to a URL that was visited"}
		}
		seen[request] = true
		this = *next
	}
}

// visit makes one request, on a connection of its own. It returns the request to follow with, if it is redirected, or else
// a verdict.
func (a *attempt) visit(ctx context.Context, this visit) (*visit, verdict) {
	var body io.Reader = http.NoBody
	if this.method == a.target.Method && a.target.Request.Body != "" && !this.elsewhere {
		body = strings.NewReader(a.target.Request.Body)
	}
	asked, err := http.NewRequestWithContext(ctx, this.method, this.url, body)
	if err != nil {
		return nil, unchecked
	}
	a.setHeaders(asked, this.elsewhere)

	hop := a.newHop(asked.URL, this.elsewhere)
	defer hop.record(&a.result)
	answer, v := a.exchange(ctx, hop, asked, a.target.Request.HTTP2)
	if answer == nil {
		return nil, v
	}
	defer func() { _ = answer.Body.Close() }()
	if v := a.understand(answer); v.outcome != "" {
		return nil, v
	}
	if slices.Contains([]int{301, 302, 303, 307, 308}, answer.StatusCode) && a.target.MaxRedirects > 0 {
		return a.redirect(this, answer)
	}
	return nil, a.judge(ctx, hop, answer)
}

// exchange sends a request on a new connection, and gives the answer with its body unread; or else a verdict. With TLS
// the handshake has agreed on the version of HTTP; without it HTTP/2 is spoken if the target is known to understand it.
func (a *attempt) exchange(
	ctx context.Context, hop *hop, asked *http.Request, knowsHTTP2 bool,
) (answer *http.Response, v verdict) {
	conn, err := hop.open(ctx, dialAddress(asked.URL))
	if err != nil {
		return nil, hop.connectVerdict(ctx, err)
	}
	speaksHTTP2 := knowsHTTP2
	if secured, ok := conn.(*tls.Conn); ok {
		speaksHTTP2 = secured.ConnectionState().NegotiatedProtocol == "h2"
	}
	if speaksHTTP2 {
		return exchange2(ctx, hop, conn, asked)
	}
	return exchange1(ctx, hop, conn, asked)
}

// understand refuses an answer of a protocol that was not asked for, or with a status that HTTP does not have.
func (a *attempt) understand(answer *http.Response) verdict {
	asked := answer.ProtoMajor == 1 || answer.ProtoMajor == 2 && a.target.Request.HTTP2
	if !asked || answer.StatusCode < minStatus || answer.StatusCode > maxStatus {
		return misunderstood(answer)
	}
	a.result.HTTPStatus, a.result.HTTPVersion = new(answer.StatusCode), answer.Proto
	return verdict{}
}

func misunderstood(answer *http.Response) verdict {
	return verdict{
		uptime.HTTPMalformed, fmt.Sprintf("the answer is of HTTP/%d, with the status %d", answer.ProtoMajor, answer.StatusCode),
	}
}

// setHeaders sets what every request says and, as long as it goes to the first origin, what its owner wants to be said.
func (a *attempt) setHeaders(asked *http.Request, elsewhere bool) {
	request, secrets := a.target.Request, a.target.Secrets
	asked.Header.Set("Accept", "*/*")
	asked.Header.Set("User-Agent", cmp.Or(request.UserAgent, a.userAgent))
	if elsewhere {
		return
	}
	for name, value := range request.Headers {
		asked.Header.Set(name, value)
	}
	for name, value := range secrets.Headers {
		asked.Header.Set(name, value)
	}
	switch {
	case secrets.BearerToken != "":
		asked.Header.Set("Authorization", "Bearer "+secrets.BearerToken)
	case a.target.hasBasicAuth():
		asked.SetBasicAuth(request.BasicUsername, secrets.BasicPassword)
	}
	asked.Host = cmp.Or(request.HostOverride, asked.Host)
}

func dialAddress(u *url.URL) string {
	port := ""
	if s, known := schemeNamed(u.Scheme); known {
		port = strconv.Itoa(int(s.port))
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
