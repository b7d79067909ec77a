package dbtest

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Proxy stands between a program and its database, and cuts connections when it is told to.
type Proxy struct {
	listener net.Listener
	server   string

	mu     sync.Mutex
	down   bool
	pieces int // that may pass until the next cut; 0: no end
	conns  map[net.Conn]bool
}

// NewProxy gives a proxy before the server of a database, and the URL of the database through it.
func NewProxy(t testing.TB, databaseURL string) (*Proxy, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	p := &Proxy{listener: listener, server: parsed.Host, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(p.serve)
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		p.SetDown(true)
		serving.Wait()
	})
	parsed.Host = listener.Addr().String()
	return p, parsed.String()
}

// SetDown cuts all connections and lets none be made, or lets them be made again.
func (p *Proxy) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	p.cut()
}

// CutAfter lets n more pieces of traffic pass, whichever way, and cuts all connections then, once. New ones can be
// made. Zero takes that back, and reports whether it was still to come.
func (p *Proxy) CutAfter(n int) (pending bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending = p.pieces > 0
	p.pieces = n
	return pending
}

func (p *Proxy) cut() {
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

func (p *Proxy) serve() {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		if p.down {
			p.cut()
		}
		p.mu.Unlock()
		open.Go(func() { p.pipe(client, server) })
		open.Go(func() { p.pipe(server, client) })
	}
}

func (p *Proxy) pipe(to, from net.Conn) {
	defer to.Close()   //nolint:errcheck // may be cut
	defer from.Close() //nolint:errcheck // may be cut
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.pass() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass reports whether a piece may pass, and cuts all connections if it was one too many.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pieces == 0 {
		return true
	}
	p.pieces--
	if p.pieces > 0 {
		return true
	}
	p.cut()
	return false
}
