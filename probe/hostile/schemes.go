package hostile

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Talk says something as soon as a client connects, then answers each line with answer, if it is not empty.
func Talk(tb testing.TB, banner, answer string) string {
	return As("tcp", serve(tb, func(conn *net.TCPConn) {
		write(conn, []byte(banner))
		heard := make([]byte, 4<<10)
		for {
			n, err := conn.Read(heard)
			if err != nil {
				return
			}
			if answer != "" && strings.HasSuffix(string(heard[:n]), "\n") {
				write(conn, []byte(answer))
			}
		}
	}))
}

// HangsUpTCP says something and hangs up.
func HangsUpTCP(tb testing.TB, banner string) string {
	return As("tcp", serve(tb, func(conn *net.TCPConn) { write(conn, []byte(banner)) }))
}

// GRPC answers health checks as the standard service does: of the services with the health that is given as a number,
// and of others that they are not known. It speaks HTTP/2 without TLS.
func GRPC(tb testing.TB, health map[string]byte) string {
	server := httptest.NewUnstartedServer(GRPCHandler(health))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	tb.Cleanup(server.Close)
	return As("grpc", server.URL)
}

// GRPCHandler is that of GRPC.
func GRPCHandler(health map[string]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := io.ReadAll(r.Body)
		service := ""
		if len(request) > 7 {
			service = string(request[7:])
		}
		w.Header().Set("Content-Type", "application/grpc")
		status, known := health[service]
		if !known || r.URL.Path != "/grpc.health.v1.Health/Check" {
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "unknown service")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		message := []byte{}
		if status != 0 {
			message = []byte{1 << 3, status}
		}
		_, _ = w.Write(append([]byte{0, 0, 0, 0, byte(len(message))}, message...))
		w.Header().Set("Grpc-Status", "0")
	})
}

// As gives a server's URL with another scheme, and without the path that some schemes do not have.
func As(scheme, url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return scheme + "://" + strings.TrimSuffix(rest, "/")
}
