package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"
)

// dial connects to a host, as egress permits it.
func (h *hop) dial(ctx context.Context, network, address string) (net.Conn, error) {
	start := time.Now()
	conn, err := h.dialer(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { h.startDNS() },
		DNSDone:  func(info httptrace.DNSDoneInfo) { h.endDNS(info.Err) },
	}), network+h.version, address)
	if err != nil {
		return nil, err
	}
	h.connected(start, conn.RemoteAddr())
	return conn, nil
}

// handshake makes the TLS handshake, and closes the connection if that fails.
func (h *hop) handshake(ctx context.Context, plain net.Conn) (*tls.Conn, error) {
	h.enter(inTLS)
	start := time.Now()
	conn := tls.Client(plain, h.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		if invalid, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			h.showed(invalid.UnverifiedCertificates[0])
		}
		_ = plain.Close()
		return nil, err
	}
	h.secured(start)
	h.showed(conn.ConnectionState().PeerCertificates[0])
	return conn, nil
}

// open connects to a host, and makes the TLS handshake if the hop is to have one.
func (h *hop) open(ctx context.Context, address string) (net.Conn, error) {
	conn, err := h.dial(ctx, "tcp", address)
	if err != nil || h.tls == nil {
		return conn, err
	}
	return h.handshake(ctx, conn)
}

// agreedOnHTTP2 reports whether a TLS handshake has agreed on HTTP/2.
func agreedOnHTTP2(conn net.Conn) bool {
	secured, ok := conn.(*tls.Conn)
	return ok && secured.ConnectionState().NegotiatedProtocol == "h2"
}

// tlsConfig says how to make the handshake with the host of a URL.
func (a *attempt) tlsConfig(to *url.URL, s scheme, elsewhere bool) *tls.Config {
	request := a.target.Request
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         to.Hostname(),
		NextProtos:         s.alpn,
		InsecureSkipVerify: request.TLSSkipVerify, //nolint:gosec // its owner asked for it, and is shown that he did
	}
	if request.HTTP2 && s.uses("http2") {
		config.NextProtos = slices.Concat([]string{"h2"}, s.alpn)
	}
	if !elsewhere && request.HostOverride != "" {
		config.ServerName = hostOf(request.HostOverride)
	}
	if request.CAPEM != "" {
		config.RootCAs = rootsWith(request.CAPEM)
	}
	if !elsewhere && request.ClientCertPEM != "" { // it is a credential
		certificate, err := tls.X509KeyPair([]byte(request.ClientCertPEM), []byte(a.target.Secrets.ClientKeyPEM))
		if err == nil { // Target.Check has seen to it
			config.Certificates = []tls.Certificate{certificate}
		}
	}
	return config
}

// rootsWith gives the roots of this host and those of a PEM text.
func rootsWith(pem string) *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(pem))
	return roots
}

// hostOf gives the host of what may be a host and a port.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
