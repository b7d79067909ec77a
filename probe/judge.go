package probe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"riverwatch/uptime"
)

const (
	defaultBodyBytes  = 1 << 20  // of a body that are read: a page that says that all is well is smaller
	defaultBodyMemory = 64 << 20 // of all bodies that are kept to be matched
)

// judge reads the body of an answer and says whether it is what the target's owner expects. That it arrived whole comes
// first, its status second, the rest after that.
func (a *attempt) judge(ctx context.Context, hop *hop, answer *http.Response) verdict {
	body := a.bodyOf(answer)
	defer body.release()
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
	if answer.Request.Method != http.MethodHead && a.target.asksForBody() {
		text, lost := body.text()
		if lost {
			a.miss(bodyLost)
		} else {
			a.expectText(ctx, text...)
			a.expectJSON(ctx, truncated, text...)
		}
	}
	if truncated {
		return a.met(verdict{uptime.OKTruncated, ""})
	}
	return a.met(verdict{uptime.OK, ""})
}

// bodyOf prepares to keep a body. What is not asked for is not kept, but for the first of it. Nothing is allocated for the
// length that a header claims.
func (a *attempt) bodyOf(answer *http.Response) *keptBody {
	most := a.settings.MaxBodyBytes
	if !a.target.asksForBody() {
		most = min(most, int64(a.searchedBytes()))
	}
	if answer.ContentLength >= 0 {
		most = min(most, answer.ContentLength)
	}
	return &keptBody{memory: a.memory, most: int(most)}
}

// askedHeader gives of a header what is asked for: the rest, which may be large, is not kept while the body is waited for.
func (a *attempt) askedHeader(header http.Header) http.Header {
	asked := make(http.Header, len(a.target.Expectations.HeaderRegexps))
	for name := range a.target.Expectations.HeaderRegexps {
		asked[http.CanonicalHeaderKey(name)] = slices.Clone(header.Values(name))
	}
	return asked
}

// take reads the body of an answer to its end or to the cap, and gives a verdict if it does not come whole.
func (a *attempt) take(
	ctx context.Context, hop *hop, answer *http.Response, body *keptBody,
) (truncated bool, v verdict) {
	hop.enter(inBody)
	answer.Header = a.askedHeader(answer.Header)
	most := a.settings.MaxBodyBytes
	ended, err := body.readFrom(ctx, answer.Body)
	a.waited += body.waited
	size := int64(body.size)
	if err == nil && !ended && size < most {
		var rest int64
		rest, err = io.Copy(io.Discard, io.LimitReader(answer.Body, most-size))
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
	a.excerpt(body.beginning(a.searchedBytes()))
	if err != nil {
		return truncated, bodyVerdict(ctx, err)
	}
	body.whole()
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
