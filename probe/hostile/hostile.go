// Package hostile is for the tests of what meets strangers: it reads the lists of hostile inputs, and holds raw TCP, TLS
// and DNS servers on loopback that misbehave. Each function of a server starts one, which ends with the test, and gives
// its URL.
package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Named gives the servers that list "response" calls by name.
func Named() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{
		"redirect_counter":    RedirectCounter,
		"body_endless":        EndlessBody,
		"body_drip_5Bps":      DripBody,
		"header_endless":      EndlessHeader,
		"rst":                 Reset,
		"rst_mid_body":        ResetMidBody,
		"103_flood":           EarlyHintsFlood,
		"chunk_ext_flood":     ChunkExtensionFlood,
		"refused":             Refused,
		"not_accepting":       NotAccepting,
		"tls_silent":          SilentTLS,
		"https_to_plain_http": PlainHTTPBehindHTTPS,
		"tls_expired":         ExpiredTLS,
	}
}

// Raw answers each request with the same bytes, and hangs up.
func Raw(tb testing.TB, answer []byte) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) { write(conn, answer) })
}

// RedirectCounter redirects for ever, to /1, /2, /3 and so on.
func RedirectCounter(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, request string) {
		var n int
		_, _ = fmt.Sscanf(request, "GET /%d ", &n)
		write(conn, fmt.Appendf(nil, "HTTP/1.1 302 F\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n", n+1))
	})
}

// EndlessBody sends a body without end, as fast as it is read.
func EndlessBody(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\n\r\n"))
		flood(conn, "all work and no play makes jack a dull boy\n")
	})
}

// DripBody sends a byte of its body each 200 ms.
func DripBody(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"))
		for write(conn, []byte("a")) {
			time.Sleep(200 * time.Millisecond)
		}
	})
}

// StalledBody sends a part of its body, and then nothing.
func StalledBody(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"))
		_, _ = io.Copy(io.Discard, conn)
	})
}

// EndlessHeader sends header lines without end.
func EndlessHeader(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\n"))
		flood(conn, "X-Filler: all work and no play makes jack a dull boy\r\n")
	})
}

// EarlyHintsFlood sends interim answers (103) without end.
func EarlyHintsFlood(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		flood(conn, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
	})
}

// ChunkExtensionFlood sends chunks of one byte, each with an extension of 2 KB.
func ChunkExtensionFlood(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		flood(conn, "1;x="+strings.Repeat("y", 2000)+"\r\na\r\n")
	})
}

// GzipBomb sends a body of 64 MiB of zeros, packed into 64 KB.
func GzipBomb(tb testing.TB) string {
	var member bytes.Buffer
	writer := gzip.NewWriter(&member)
	_, err := writer.Write(make([]byte, 1<<20))
	require.NoError(tb, err)
	require.NoError(tb, writer.Close())
	packed := bytes.Repeat(member.Bytes(), 64) // members that follow each other are one (RFC 1952)
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(packed))
	return Raw(tb, append(head, packed...))
}

// Reset takes the request and resets the connection.
func Reset(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) { _ = conn.SetLinger(0) })
}

// ResetMidBody resets the connection in the middle of the body.
func ResetMidBody(tb testing.TB) string {
	return Serve(tb, func(conn *net.TCPConn, _ string) {
		write(conn, []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"))
		_ = conn.SetLinger(0)
	})
}

// Refused is a port that nothing listens on.
func Refused(tb testing.TB) string {
	_, address := boundSocket(tb)
	return "http://" + address + "/"
}

// FullBacklog listens, but its backlog is full: the kernel leaves the client's SYN without an answer.
func FullBacklog(tb testing.TB) string {
	socket, address := boundSocket(tb)
	require.NoError(tb, syscall.Listen(socket, 0))
	for {
		conn, err := net.DialTimeout("tcp4", address, 100*time.Millisecond)
		if err != nil {
			return "http://" + address + "/"
		}
		tb.Cleanup(func() { _ = conn.Close() })
	}
}

// boundSocket has a port that no other test gets, and does not listen.
func boundSocket(tb testing.TB) (socket int, address string) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = syscall.Close(socket) })
	require.NoError(tb, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(socket)
	require.NoError(tb, err)
	return socket, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port) //nolint:forcetypeassert // as bound above
}

// NotAccepting listens, but accepts nobody: the kernel connects, and no request is read.
func NotAccepting(tb testing.TB) string {
	return "http://" + listen(tb).Addr().String() + "/"
}

// Serve accepts connections, reads the header of one request from each, answers it and hangs up. With the test, it
// closes what is open and waits for the answers to end.
func Serve(tb testing.TB, answer func(conn *net.TCPConn, request string)) string {
	return serve(tb, func(conn *net.TCPConn) {
		if request, err := readRequest(conn); err == nil {
			answer(conn, request)
		}
	})
}

func serve(tb testing.TB, handle func(*net.TCPConn)) string {
	listener := listen(tb)
	serveOn(tb, listener, handle)
	return "http://" + listener.Addr().String() + "/"
}

func serveOn(tb testing.TB, listener *net.TCPListener, handle func(*net.TCPConn)) {
	var (
		open  sync.Map
		wait  sync.WaitGroup
		serve = func(conn *net.TCPConn) {
			defer open.Delete(conn)
			defer func() { _ = conn.Close() }()
			handle(conn)
		}
	)
	wait.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			wait.Go(func() { serve(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		for conn := range open.Range {
			_ = conn.(*net.TCPConn).Close() //nolint:forcetypeassert // it holds no others
		}
		wait.Wait()
	})
}

func listen(tb testing.TB) *net.TCPListener {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = listener.Close() })
	return listener
}

// readRequest reads a request up to the empty line.
func readRequest(conn net.Conn) (string, error) {
	var request strings.Builder
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return "", err
		}
		request.WriteString(line)
		if line == "\r\n" {
			return request.String(), nil
		}
	}
}

// write reports whether the other side still listens.
func write(conn net.Conn, data []byte) bool {
	_, err := conn.Write(data)
	return err == nil
}

func flood(conn net.Conn, text string) {
	data := bytes.Repeat([]byte(text), 1+(16<<10)/len(text))
	for write(conn, data) {
	}
}
