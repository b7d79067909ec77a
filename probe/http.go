package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"riverwatch/uptime"
)

// A visit is a request on the way to the answer that is judged.
type visit struct {
	method, url string
	elsewhere   bool // the redirects have left the first origin: nothing goes there that was meant for it
}

// askHTTP goes from hop to hop, until there is a verdict.
func askHTTP(ctx context.Context, f *fetch, _ *url.URL) verdict {
	next := &visit{method: f.target.Method, url: f.target.URL}
	seen := map[visit]bool{*next: true}
	for {
		this := *next
		var v verdict
		if next, v = f.visit(ctx, this); next == nil {
			return v
		}
		if v := f.follow(seen, *next); v.outcome != "" {
			return v
		}
	}
}

// visit makes one request, on a connection of its own. It returns the request to follow with, or a verdict.
func (f *fetch) visit(ctx context.Context, this visit) (*visit, verdict) {
	asked, err := f.newRequest(ctx, this)
	if err != nil {
		return nil, unchecked
	}
	hop := f.newHop(asked.URL, this.elsewhere)
	defer hop.record(&f.result)
	answer, v := f.exchange(hop.context(ctx), hop, f.transport(asked.URL.Scheme), asked)
	if answer == nil {
		return nil, v
	}
	defer func() { _ = answer.Body.Close() }()
	return f.receive(ctx, hop, this, answer)
}

// exchange sends a request on a new connection, without a transport in HTTP/1.1, and gives the answer with its body
// unread; or else a verdict.
func (f *fetch) exchange(
	ctx context.Context, hop *hop, transport *http.Transport, asked *http.Request,
) (answer *http.Response, v verdict) {
	if transport == nil {
		return f.exchange1(ctx, hop, asked)
	}
	conn, err := transport.NewClientConn(ctx, asked.URL.Scheme, dialAddress(asked.URL))
	if err != nil {
		return nil, hop.connectVerdict(ctx, err)
	}
	hop.enter(inHeader)
	hop.mark(&hop.sent)
	answer, err = conn.RoundTrip(asked.WithContext(ctx))
	if err != nil {
		_ = conn.Close()
		return nil, headerVerdict(ctx, err)
	}
	answer.Body = &wholeBody{answer.Body, conn}
	return answer, verdict{}
}

// A wholeBody is closed with its connection.
type wholeBody struct {
	io.ReadCloser

	conn *http.ClientConn
}

func (b *wholeBody) Close() error { return errors.Join(b.conn.Close(), b.ReadCloser.Close()) }

// transport gives what to speak with; nil: HTTP/1.1.
func (f *fetch) transport(scheme string) *http.Transport {
	switch {
	case !f.target.Request.HTTP2:
		return nil
	case scheme == "http":
		return f.h2c
	}
	return f.http2
}

// receive follows a redirect, and judges any other answer.
func (f *fetch) receive(ctx context.Context, hop *hop, this visit, answer *http.Response) (*visit, verdict) {
	if v := f.understand(answer); v.outcome != "" {
		return nil, v
	}
	if isRedirect(answer.StatusCode) && f.target.MaxRedirects > 0 {
		return f.redirect(this, answer)
	}
	return nil, f.judge(ctx, hop, answer)
}

// understand refuses an answer of a protocol that was not asked for, or with a status that HTTP does not have.
func (f *fetch) understand(answer *http.Response) verdict {
	version := answer.ProtoMajor == 1 || answer.ProtoMajor == 2 && f.target.Request.HTTP2
	if !version || answer.StatusCode < minStatus || answer.StatusCode > maxStatus {
		return verdict{
			uptime.HTTPMalformed,
			fmt.Sprintf("the answer is of HTTP/%d, with the status %d", answer.ProtoMajor, answer.StatusCode),
		}
	}
	f.result.HTTPStatus, f.result.HTTPVersion = new(answer.StatusCode), answer.Proto
	return verdict{}
}

func (f *fetch) newRequest(ctx context.Context, this visit) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if this.method == f.target.Method && f.target.Request.Body != "" && !this.elsewhere {
		body = strings.NewReader(f.target.Request.Body)
	}
	asked, err := http.NewRequestWithContext(ctx, this.method, this.url, body)
	if err != nil {
		return nil, err
	}
	f.setHeaders(asked, this.elsewhere)
	return asked, nil
}

// setHeaders sets what every request says and, as long as it goes to the first origin, what its owner wants to be said.
func (f *fetch) setHeaders(asked *http.Request, elsewhere bool) {
	request, secrets := f.target.Request, f.target.Secrets
	asked.Header.Set("Accept", "*/*")
	asked.Header.Set("User-Agent", cmp.Or(request.UserAgent, f.userAgent))
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
	case f.target.hasBasicAuth():
		asked.SetBasicAuth(request.BasicUsername, secrets.BasicPassword)
	}
	asked.Host = cmp.Or(request.HostOverride, asked.Host)
}

func dialAddress(u *url.URL) string {
	port := ""
	if s, ok := schemeOf(u.Scheme); ok {
		port = strconv.Itoa(int(s.defaultPort))
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
