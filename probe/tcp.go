package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
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
	if a.target.Request.Body != "" {
		hop.dialer = a.dialer.DialWrite
	}
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

// listen reads until the regexp matches, the target hangs up, or the deadline comes. Each time the target pauses, what has
// come is matched.
func (a *attempt) listen(ctx context.Context, hop *hop, conn net.Conn) verdict {
	said := &keptBody{memory: a.memory, most: maxTalkBytes}
	defer said.release()
	unmatched := false // whether some of it has not been matched
	for {
		room, err := said.room(ctx)
		a.waited = said.waited
		if err != nil {
			return bodyVerdict(ctx, err)
		}
		if len(room) == 0 {
			return a.said(hop, said, false, bodyLost)
		}
		pause := time.Second
		if unmatched {
			pause = talkPause
		}
		_ = conn.SetReadDeadline(before(ctx, time.Now().Add(pause)))
		n, err := conn.Read(room)
		if n > 0 {
			if said.size == 0 {
				hop.mark(&hop.firstByteAt)
				hop.enter(inBody)
			}
			said.size += n
			unmatched = true
		}

		paused := errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil
		full := said.size == maxTalkBytes
		switch {
		case err != nil && !paused:
			return a.silence(ctx, hop, said, unmatched, err)
		case !full && (!paused || !unmatched):
			continue
		}
		matched, v := a.heard(ctx, said)
		if matched || full || v.outcome != "" {
			return a.said(hop, said, matched, v)
		}
		unmatched = false
	}
}

// heard matches what has come so far.
func (a *attempt) heard(ctx context.Context, said *keptBody) (matched bool, v verdict) {
	text, lost := said.text()
	if lost {
		return false, bodyLost
	}
	matched, err := a.matcher.match(ctx, a.target.Regexp, text...)
	if err != nil {
		return false, matchVerdict(ctx, err)
	}
	return matched, verdict{}
}

// silence judges what has come when no more will: the target hung up, or the deadline came.
func (a *attempt) silence(ctx context.Context, hop *hop, said *keptBody, unmatched bool, err error) verdict {
	if v, yes := ended(ctx, inHeader); said.size == 0 || yes && v == cancelled {
		return headerVerdict(ctx, err)
	}
	matched := false
	if unmatched {
		var v verdict
		if matched, v = a.heard(context.WithoutCancel(ctx), said); v.outcome != "" {
			return v
		}
	}
	return a.said(hop, said, matched, verdict{})
}

// said gives the verdict of what the target said.
func (a *attempt) said(hop *hop, said *keptBody, matched bool, v verdict) verdict {
	hop.received()
	a.result.BodyBytes = new(int64(said.size))
	a.excerpt(said.beginning(a.searchedBytes()))
	if v.outcome != "" {
		return v
	}
	a.result.RegexpMatched = &matched
	a.expect(uptime.RegexpMismatch, expectedMatch(a.target.Regexp, false, matched))
	return a.met(verdict{uptime.OK, ""})
}
