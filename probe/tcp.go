package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"riverwatch/uptime"
)

const (
	maxTalkBytes = 64 << 10              // of what a TCP target says before it matches: banners are short
	talkPause    = 20 * time.Millisecond // a silence after which what has come is matched
)

type tcpProtocol struct{}

func (tcpProtocol) mayRepeat(target Target) bool { return target.Request.Body == "" }

func (tcpProtocol) rest(u *url.URL) (string, error) { return "", noPath(u) }

// ask connects, sends the request's body if there is one, and waits until what comes back matches the regexp.
func (tcpProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	conn, err := hop.dial(ctx, "tcp", target.Host)
	if err != nil {
		return hop.connectVerdict(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	hop.enter(inHeader)
	hop.mark(&hop.requested)
	if _, err := io.WriteString(conn, a.target.Request.Body); err != nil {
		return headerVerdict(ctx, err)
	}
	if a.target.Regexp == "" {
		return verdict{uptime.OK, ""}
	}
	return a.listen(ctx, hop, conn)
}

// interrupt ends what a connection waits for once ctx is done.
func interrupt(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// before gives the earlier of an instant and the deadline of ctx.
func before(ctx context.Context, at time.Time) time.Time {
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(at) {
		return deadline
	}
	return at
}

// A talk is what a TCP target has said so far.
type talk struct {
	conn      net.Conn
	said      []byte
	unmatched bool // whether some of it has not been matched
}

// read reads more, and reports whether the target pauses.
func (t *talk) read(ctx context.Context) (paused bool, err error) {
	wait := time.Second
	if t.unmatched {
		wait = talkPause
	}
	_ = t.conn.SetReadDeadline(before(ctx, time.Now().Add(wait)))
	t.said = slices.Grow(t.said, 1)
	n, err := t.conn.Read(t.said[len(t.said):min(cap(t.said), maxTalkBytes)])
	t.said = t.said[:len(t.said)+n]
	t.unmatched = t.unmatched || n > 0
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return true, nil
	}
	return false, err
}

// listen reads until the regexp matches, the target hangs up, or the deadline comes.
func (a *attempt) listen(ctx context.Context, hop *hop, conn net.Conn) verdict {
	t := talk{conn: conn, said: make([]byte, 0, 4<<10)}
	for {
		before := len(t.said)
		paused, err := t.read(ctx)
		if before == 0 && len(t.said) > 0 {
			hop.mark(&hop.firstByteAt)
			hop.enter(inBody)
		}
		full := len(t.said) == maxTalkBytes
		switch {
		case err != nil:
			return a.silence(ctx, hop, t, err)
		case !full && (!paused || !t.unmatched):
			continue
		}
		matched, v := a.heard(ctx, t.said)
		if matched || full || v.outcome != "" {
			return a.said(hop, t.said, matched, v)
		}
		t.unmatched = false
	}
}

// heard matches what has come so far.
func (a *attempt) heard(ctx context.Context, said []byte) (matched bool, v verdict) {
	matched, err := a.matcher.match(ctx, a.target.Regexp, said)
	if err != nil {
		return false, matchVerdict(ctx, err)
	}
	return matched, verdict{}
}

// silence judges what has come when no more will: the target hung up, or the deadline came.
func (a *attempt) silence(ctx context.Context, hop *hop, t talk, err error) verdict {
	if v, yes := ended(ctx, inHeader); len(t.said) == 0 || yes && v == cancelled {
		return headerVerdict(ctx, err)
	}
	matched := false
	if t.unmatched {
		var v verdict
		if matched, v = a.heard(context.WithoutCancel(ctx), t.said); v.outcome != "" {
			return v
		}
	}
	return a.said(hop, t.said, matched, verdict{})
}

// said gives the verdict of what the target said.
func (a *attempt) said(hop *hop, said []byte, matched bool, v verdict) verdict {
	hop.received()
	a.result.BodyBytes = new(int64(len(said)))
	a.excerpt(said)
	if v.outcome != "" {
		return v
	}
	a.result.RegexpMatched = &matched
	a.expect(uptime.RegexpMismatch, expectedMatch(a.target.Regexp, false, matched))
	return a.met(verdict{uptime.OK, ""})
}
