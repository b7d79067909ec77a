package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"riverwatch/uptime"
)

const (
	defaultBodyBytes = 1 << 20   // of a body that are read: a page that says that all is well is smaller
	maxPooledBytes   = 256 << 10 // of a buffer that is kept for the next probe: most bodies are small
)

// judge reads the body of an answer and says whether it is what the target's owner expects. That it arrived whole comes
// first, its status second, the rest after that.
func (a *attempt) judge(ctx context.Context, hop *hop, answer *http.Response) verdict {
	body := buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // it holds no others
	defer putBuffer(body)

	truncated, v := a.take(ctx, hop, answer, body)
	if v.outcome != "" {
		return v
	}
	accepted := "200-299"
	if len(a.target.AcceptedStatuses) > 0 {
		accepted = strings.Join(a.target.AcceptedStatuses, ", ")
	}
	a.expect(uptime.StatusMismatch, Expected{
		Name: "status", Want: accepted, Found: strconv.Itoa(answer.StatusCode),
		Met: accepts(a.target.AcceptedStatuses, answer.StatusCode),
	})
	a.expectHeaders(ctx, answer.Header)
	if answer.Request.Method != http.MethodHead {
		a.expectText(ctx, body.Bytes())
		a.expectJSON(ctx, body.Bytes(), truncated)
	}
	if truncated {
		return a.met(verdict{uptime.OKTruncated, ""})
	}
	return a.met(verdict{uptime.OK, ""})
}

// take reads the body of an answer to its end or to the cap, and gives a verdict if it does not come whole. What is not asked
// for is not kept in the buffer, but for the first of it. Nothing is allocated for the length that a header claims.
func (a *attempt) take(
	ctx context.Context, hop *hop, answer *http.Response, body *bytes.Buffer,
) (truncated bool, v verdict) {
	hop.enter(inBody)
	most := a.settings.MaxBodyBytes
	keep := most
	if !a.target.asksForBody() {
		keep = min(most, int64(a.searchedBytes()))
	}
	size, err := body.ReadFrom(io.LimitReader(answer.Body, keep))
	if err == nil && size == keep && keep < most {
		var rest int64
		rest, err = io.Copy(io.Discard, io.LimitReader(answer.Body, most-keep))
		size += rest
	}
	if err == nil && size >= most {
		_, err = io.ReadFull(answer.Body, make([]byte, 1))
		truncated = err == nil
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	a.result.BodyBytes = &size
	a.excerpt(body.Bytes())
	if err != nil {
		return truncated, bodyVerdict(ctx, err)
	}
	hop.received()
	return truncated, verdict{}
}

func (t Target) asksForBody() bool {
	return t.Regexp != "" || len(t.Expectations.Regexps) > 0 || len(t.Expectations.JSON) > 0
}

// excerpt keeps the first of a body, for the case that the answer is bad.
func (a *attempt) excerpt(body []byte) {
	a.result.BodyExcerpt = string(body[:min(len(body), a.searchedBytes())])
}

// searchedBytes is how much of a body is searched for secrets, which may straddle the end of what is kept.
func (a *attempt) searchedBytes() int {
	longest := max(maxExcerptBytes, len(a.target.URL)) // its query may be secret
	if len(a.secrets) > 0 {
		longest = max(longest, len(a.secrets[0]))
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
