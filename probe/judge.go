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
	f.excerpt(body.Bytes())
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
		keep = int64(f.searchedBytes())
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

// excerpt keeps the first of a body, for the case that the answer is bad.
func (f *fetch) excerpt(body []byte) {
	f.result.BodyExcerpt = string(body[:min(len(body), f.searchedBytes())])
}

// searchedBytes is how much of a body is searched for secrets, which may straddle the end of what is kept.
func (f *fetch) searchedBytes() int {
	longest := max(maxExcerptBytes, len(f.target.URL)) // its query may be secret
	if len(f.secrets) > 0 {
		longest = max(longest, len(f.secrets[0]))
	}
	return maxExcerptBytes + longest
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxPooledBytes {
		buffer.Reset()
		buffers.Put(buffer)
	}
}
