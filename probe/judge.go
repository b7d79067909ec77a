package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"riverwatch/uptime"
)

const (
	maxBodyBytes   = 1 << 20   // of a body that are read, counted after decompression
	maxPooledBytes = 256 << 10 // of a buffer that is kept for the next probe: most bodies are small
)

// judge reads the body of an answer and says whether it is what the target's owner expects. That it arrived whole comes
// first, its status second, the regexp last.
func (f *fetch) judge(ctx context.Context, hop *hop, response *http.Response) verdict {
	asked := f.target.Regexp != "" && response.Request.Method != http.MethodHead
	body := buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // it holds no others
	defer putBuffer(body)

	size, truncated, err := readBody(response.Body, body, asked)
	f.result.BodyBytes = &size
	if err != nil {
		return bodyVerdict(ctx, err)
	}
	hop.received()

	unmet := verdict{}
	if asked {
		unmet = f.match(ctx, body.Bytes())
	}
	switch {
	case !accepts(f.target.AcceptedStatuses, response.StatusCode):
		return f.statusMismatch(response.StatusCode)
	case unmet.outcome != "":
		return unmet
	case truncated:
		return verdict{uptime.OKTruncated, ""}
	}
	return verdict{uptime.OK, ""}
}

func (f *fetch) statusMismatch(status int) verdict {
	accepted := "200-299"
	if len(f.target.AcceptedStatuses) > 0 {
		accepted = strings.Join(f.target.AcceptedStatuses, ", ")
	}
	return verdict{uptime.StatusMismatch, fmt.Sprintf("the status is %d, and accepted is %s", status, accepted)}
}

// match matches the body against the regexp, and says what is not as expected.
func (f *fetch) match(ctx context.Context, body []byte) (unmet verdict) {
	matched, err := f.matcher.match(ctx, f.target.Regexp, body)
	if err != nil {
		return matchVerdict(ctx, err)
	}
	f.result.RegexpMatched = &matched
	switch {
	case matched && f.target.RegexpInvert:
		return verdict{uptime.RegexpMismatch, "the body matches the regexp, and must not"}
	case !matched && !f.target.RegexpInvert:
		return verdict{uptime.RegexpMismatch, "the body does not match the regexp"}
	}
	return verdict{}
}

// readBody reads a body to its end or to the cap, into the buffer if it is kept. Nothing is allocated for the length
// that a header claims.
func readBody(body io.Reader, buffer *bytes.Buffer, keep bool) (size int64, truncated bool, err error) {
	capped := io.LimitReader(body, maxBodyBytes)
	if keep {
		size, err = buffer.ReadFrom(capped)
	} else {
		size, err = io.Copy(io.Discard, capped)
	}
	if err != nil || size < maxBodyBytes {
		return size, false, err
	}

	_, err = io.ReadFull(body, make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return size, false, nil
	}
	return size, err == nil, err
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxPooledBytes {
		buffer.Reset()
		buffers.Put(buffer)
	}
}
