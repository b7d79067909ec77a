package probe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"

	"riverwatch/uptime"
)

const userAgent = "Riverwatch/1.0 (uptime monitor)"

// A fetch is a probe under way: from hop to hop, until there is a verdict.
type fetch struct {
	*Prober

	target Target
	result Result
	dials  atomic.Int32
	seen   map[request]bool
}

// A request is what a hop asks for.
type request struct{ method, url string }

func (f *fetch) run(ctx context.Context) verdict {
	next := &request{f.target.Method, f.target.URL}
	f.seen = map[request]bool{*next: true}
	for {
		var v verdict
		if next, v = f.visit(ctx, *next); next == nil {
			return v
		}
	}
}

// visit makes one request, on a connection of its own. It returns the request to follow with, or a verdict.
func (f *fetch) visit(ctx context.Context, this request) (*request, verdict) {
	hop := &hop{dials: &f.dials}
	defer hop.record(&f.result)
	asked, err := newRequest(hop.context(ctx), this)
	if err != nil {
		return nil, verdict{uptime.Inconclusive, "the method or the URL was never checked"}
	}

	conn, err := f.transport.NewClientConn(asked.Context(), asked.URL.Scheme, dialAddress(asked.URL))
	if err != nil {
		return nil, hop.connectVerdict(ctx, err)
	}
	defer func() { _ = conn.Close() }()

	hop.enter(inHeader)
	hop.mark(&hop.sent)
	answer, err := conn.RoundTrip(asked)
	if err != nil {
		return nil, headerVerdict(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	return f.receive(ctx, hop, this, answer)
}

// receive follows a redirect, and judges any other answer.
func (f *fetch) receive(ctx context.Context, hop *hop, this request, answer *http.Response) (*request, verdict) {
	if answer.ProtoMajor != 1 || answer.StatusCode < minStatus || answer.StatusCode > maxStatus {
		return nil, verdict{
			uptime.HTTPMalformed,
			fmt.Sprintf("the answer is of HTTP/%d, with the status %d", answer.ProtoMajor, answer.StatusCode),
		}
	}
	f.result.HTTPStatus = new(answer.StatusCode)
	if isRedirect(answer.StatusCode) && f.target.MaxRedirects > 0 {
		return f.redirect(this, answer)
	}
	hop.enter(inBody)
	return nil, f.judge(ctx, hop, answer)
}

func newRequest(ctx context.Context, this request) (*http.Request, error) {
	asked, err := http.NewRequestWithContext(ctx, this.method, this.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	asked.Header.Set("User-Agent", userAgent)
	asked.Header.Set("Accept", "*/*")
	return asked, nil
}

func dialAddress(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), strconv.Itoa(int(defaultPort(u.Scheme)))))
}
