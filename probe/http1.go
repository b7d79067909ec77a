package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
)

// exchange1 sends a request on a connection in HTTP/1.1, and gives the answer with its body unread; or else a verdict. It
// does what http.Transport does, without the two goroutines that it has for each connection: these, and what they tell
// each other, are a third of a probe's CPU.
func exchange1(
	ctx context.Context, hop *hop, conn net.Conn, asked *http.Request,
) (answer *http.Response, v verdict) {
	whole := &wholeConn{Conn: conn, stop: interrupt(ctx, conn)}
	hop.enter(inHeader)
	hop.mark(&hop.sent)
	answer, err := whole.ask(hop, asked)
	if err != nil {
		_ = whole.Close()
		return nil, headerVerdict(ctx, err)
	}
	return answer, verdict{}
}

// A wholeConn is a connection for one request, and the body of its answer.
type wholeConn struct {
	net.Conn

	stop   func() bool // the interruption by the context
	left   int64       // bytes that may still be read
	lines  int         // of headers, so far
	inLine bool        // the last one has begun, and is not empty
	large  error       // the header is too large; who parses it may find fault with its end first

	written  chan struct{} // closed when a request with a body is written, or cannot be; nil: it has none
	writeErr error         // set before that
}

var errHeadersTooLarge = errors.New("the answer's header is too large")

const (
	mostInterim = 5 // answers (1xx) before the answer
	// Parsed, a short line takes twenty times its size. Python's own client reads 100.
	mostHeaderLines = 256
)

func (c *wholeConn) ask(hop *hop, asked *http.Request) (*http.Response, error) {
	asked.Close = !strings.EqualFold(asked.Header.Get("Connection"), "upgrade")
	packed := asked.Method != http.MethodHead
	if packed {
		asked.Header.Set("Accept-Encoding", "gzip")
	}
	c.send(hop, asked)

	c.left = maxHeaderBytes
	reader := bufio.NewReaderSize(c, 4<<10)
	if _, err := reader.Peek(1); err != nil {
		return nil, errors.Join(c.sendError(), err)
	}
	hop.mark(&hop.firstByteAt)
	answer, err := readAnswer(reader, asked)
	if err != nil {
		return nil, cmp.Or(c.large, err)
	}
	c.left = math.MaxInt64
	body := &bodyOf{answer.Body, c}
	if packed && strings.EqualFold(answer.Header.Get("Content-Encoding"), "gzip") {
		answer.Header.Del("Content-Encoding")
		answer.Header.Del("Content-Length")
		answer.ContentLength, answer.Uncompressed = -1, true
		body.Reader = &unpacked{packed: answer.Body}
	}
	answer.Body = body
	return answer, nil
}

// send writes a request. One with a body is written while the answer is read: who has heard enough may answer, and read no
// more of it.
func (c *wholeConn) send(hop *hop, asked *http.Request) {
	write := func() {
		writer := bufio.NewWriterSize(c.Conn, 1<<10) // a request without a body is small
		c.writeErr = asked.Write(writer)
		if c.writeErr == nil {
			c.writeErr = writer.Flush()
		}
		hop.mark(&hop.requested)
	}
	if asked.Body == http.NoBody {
		write()
		return
	}
	c.written = make(chan struct{})
	go func() {
		defer close(c.written)
		write()
	}()
}

// sendError gives why the request could not be written, as far as that is known by now.
func (c *wholeConn) sendError() error {
	if c.written != nil {
		select {
		case <-c.written:
		default:
			return nil
		}
	}
	return c.writeErr
}

func readAnswer(reader *bufio.Reader, asked *http.Request) (*http.Response, error) {
	for range mostInterim + 1 {
		answer, err := http.ReadResponse(reader, asked)
		interim := err == nil && answer.StatusCode/100 == 1 && answer.StatusCode != http.StatusSwitchingProtocols
		if !interim {
			return answer, err
		}
	}
	return nil, errHeadersTooLarge
}

// Read reads from the connection, as much as may still be read.
func (c *wholeConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.large = errHeadersTooLarge
		return 0, c.large
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	if c.left <= maxHeaderBytes {
		c.countLines(p[:n])
		if c.lines > mostHeaderLines {
			c.large = errHeadersTooLarge
			return 0, c.large
		}
	}
	c.left -= int64(n)
	return n, err
}

// countLines counts the lines of a header in what was read while it is not whole. An empty line is its end, and what comes
// after it is of the body, or of an answer after an interim one: some of that is not counted.
func (c *wholeConn) countLines(read []byte) {
	for line := range bytes.Lines(read) {
		text := bytes.TrimRight(line, "\r\n")
		c.inLine = c.inLine || len(text) > 0
		if ended := line[len(line)-1] == '\n'; !ended || !c.inLine {
			return
		}
		c.lines++
		c.inLine = false
	}
}

func (c *wholeConn) Close() error {
	c.stop()
	err := c.Conn.Close()
	if c.written != nil {
		<-c.written // what is still to be written ends with the connection
	}
	return err
}

type bodyOf struct {
	io.Reader

	conn *wholeConn
}

// Close closes the connection, and with it the body: what is unread of it is nobody's.
func (b *bodyOf) Close() error { return b.conn.Close() }

// unpacked is a body without its gzip, of which the header is read when the body is.
type unpacked struct {
	packed io.Reader
	gzip   *gzip.Reader
}

func (u *unpacked) Read(p []byte) (n int, err error) {
	if u.gzip == nil {
		if u.gzip, err = gzip.NewReader(u.packed); err != nil {
			return 0, err
		}
	}
	return u.gzip.Read(p)
}
