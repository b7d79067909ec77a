//go:build linux

package chaos_test

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between a world's processes and its Postgres. It looks at no more than what it needs to tell a
// connection that listens for notifications from the others.
type proxy struct {
	listener net.Listener
	url      string // of the database, through the proxy
	server   string
	delay    atomic.Int64 // nanoseconds, each way
	silent   atomic.Bool  // lets nothing through, and tells nobody

	mu     sync.Mutex
	links  map[*link]bool
	budget func() int64 // how many bytes a connection lasts; nil: for ever
}

// link is one connection, both halves of it.
type link struct {
	client, server net.Conn
	left           atomic.Int64 // bytes until it is cut; negative: it is being cut
	bounded        atomic.Bool  // whether left counts
	listens        atomic.Bool
}

func newProxy(t *testing.T, host, databaseURL string) *proxy {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	p := &proxy{listener: listener, server: parsed.Host, links: map[*link]bool{}}
	parsed.Host = listener.Addr().String()
	p.url = parsed.String()

	var serving sync.WaitGroup
	serving.Go(func() { p.serve(listener) })
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		p.cut(func(*link) bool { return true })
		serving.Wait()
	})
	return p
}

func (p *proxy) serve(listener net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() { p.connect(client) })
	}
}

func (p *proxy) connect(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = true
	l.bound(p.budget)
	p.mu.Unlock()

	var halves sync.WaitGroup
	halves.Go(func() { p.pipe(l, server, client) })
	halves.Go(func() { p.pipe(l, client, server) })
	halves.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// bound gives the link so many bytes to live.
func (l *link) bound(budget func() int64) {
	l.bounded.Store(budget != nil)
	if budget != nil {
		l.left.Store(budget())
	}
}

func (p *proxy) pipe(l *link, to, from net.Conn) {
	defer l.cut()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if from == l.client && bytes.Contains(buffer[:n], []byte("LISTEN ")) {
			l.listens.Store(true)
		}
		if delay := time.Duration(p.delay.Load()); delay > 0 {
			time.Sleep(delay)
		}
		for p.silent.Load() { // what a network swallows is sent again until it gets through
			time.Sleep(20 * time.Millisecond)
		}
		n, last := l.spend(n)
		if _, err := to.Write(buffer[:n]); err != nil || last {
			return
		}
	}
}

// spend gives how many of n bytes may pass, and whether they are the last.
func (l *link) spend(n int) (pass int, last bool) {
	if !l.bounded.Load() {
		return n, false
	}
	left := l.left.Add(-int64(n))
	if left >= 0 {
		return n, false
	}
	return max(0, n+int(left)), true
}

// cut resets both halves: neither side reads what was under way.
func (l *link) cut() {
	for _, conn := range []net.Conn{l.client, l.server} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // it is cut, one way or another
		}
	}
}

// cut cuts the open connections that are chosen, and gives their number.
func (p *proxy) cut(chosen func(l *link) bool) (count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if chosen(l) {
			l.cut()
			count++
		}
	}
	return count
}

// cutAfter cuts each connection, those that are open and those to come, after as many bytes as budget says of it. A
// nil budget ends that.
func (p *proxy) cutAfter(budget func() int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = budget
	for l := range p.links {
		l.bound(budget)
	}
}
