package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"riverwatch/uptime"
)

const (
	defaultBodyBytes = 1 << 20   // of a body that are read: a page that says that all is well is smaller
	maxPooledBytes   = 256 << 10 // of a buffer that is kept for the next probe: most bodies are small
)

// judge reads the body of an answer and says whether it is what the target's owner expects. That it arrived whole comes
// first, its status second, the rest after that.
func (f *fetch) judge(ctx context.Context, hop *hop, answer *http.Response) verdict {
	body := buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // it holds no others
	defer putBuffer(body)

	truncated, v := f.take(ctx, hop, answer, body)
	if v.outcome != "" {
		return v
	}
	f.expectStatus(answer.StatusCode)
	f.expectHeaders(ctx, answer.Header)
	if answer.Request.Method != http.MethodHead {
		f.expectText(ctx, body.Bytes())
		f.expectJSON(ctx, body.Bytes(), truncated)
	}
	if truncated {
		return f.met(verdict{uptime.OKTruncated, ""})
	}
	return f.met(verdict{uptime.OK, ""})
}

// take reads the body of an answer into a buffer, as far as it is kept, and gives a verdict if it does not come whole.
func (f *fetch) take(
	ctx context.Context, hop *hop, answer *http.Response, body *bytes.Buffer,
) (truncated bool, v verdict) {
	hop.enter(inBody)
	size, truncated, err := f.readBody(answer.Body, body)
	f.result.BodyBytes = &size
	f.excerpt(body)
	if err != nil {
		return truncated, bodyVerdict(ctx, err)
	}
	hop.received()
	return truncated, verdict{}
}

// readBody reads a body to its end or to the cap. What is not asked for is not kept, but for the first of it. Nothing is
// allocated for the length that a header claims.
func (f *fetch) readBody(body io.Reader, buffer *bytes.Buffer) (size int64, truncated bool, err error) {
	most := f.settings.MaxBodyBytes
	keep := most
	if !f.target.asksForBody() {
		keep = 2 * maxExcerptBytes
	}
	if size, err = buffer.ReadFrom(io.LimitReader(body, keep)); err != nil {
		return size, false, err
	}
	if size == keep && keep < most {
		rest, err := io.Copy(io.Discard, io.LimitReader(body, most-keep))
		if size += rest; err != nil {
			return size, false, err
		}
	}
	if size < most {
		return size, false, nil
	}

	_, err = io.ReadFull(body, make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return size, false, nil
	}
	return size, err == nil, err
}

func (t Target) asksForBody() bool {
	return t.Regexp != "" || len(t.Expectations.Regexps) > 0 || len(t.Expectations.JSON) > 0
}

// excerpt keeps the first of a body, for the case that the answer is bad. A secret that the target echoes may straddle
// the end, so that more is searched than is kept.
func (f *fetch) excerpt(body *bytes.Buffer) {
	first := body.Bytes()
	if body.Len() > 2*maxExcerptBytes {
		first = first[:2*maxExcerptBytes]
	}
	f.result.BodyExcerpt = string(first)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxPooledBytes {
		buffer.Reset()
		buffers.Put(buffer)
	}
}
