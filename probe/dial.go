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
		DNSStart: func(httptrace.DNSStartInfo) {
			h.enter(inDNS)
			h.mark(&h.dnsStart)
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if info.Err == nil {
				h.stage = inConnect
				h.dns = since(h.dnsStart)
			}
		},
	}), network+h.version, address)
	if err != nil {
		return nil, err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	h.connect = since(start)
	if h.dns != nil { // connecting began when DNS had ended
		*h.connect -= h.dnsStart.Sub(start) + *h.dns
	}
	switch remote := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		h.remote = remote.AddrPort().Addr().Unmap()
	case *net.UDPAddr: // nothing was sent yet
		h.connect, h.remote = nil, remote.AddrPort().Addr().Unmap()
	}
	return conn, nil
}

// open connects to a host, and makes the TLS handshake if the hop is to have one. It keeps the certificate that the target
// showed, trusted or not.
func (h *hop) open(ctx context.Context, address string) (net.Conn, error) {
	plain, err := h.dial(ctx, "tcp", address)
	if err != nil || h.tls == nil {
		return plain, err
	}

	h.enter(inTLS)
	start := time.Now()
	conn := tls.Client(plain, h.tls)
	err = conn.HandshakeContext(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if invalid, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			h.certificate = invalid.UnverifiedCertificates[0]
		}
		_ = plain.Close()
		return nil, err
	}
	h.secure, h.certificate = since(start), conn.ConnectionState().PeerCertificates[0]
	return conn, nil
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
		host, _, err := net.SplitHostPort(request.HostOverride)
		if err != nil { // it has no port
			host = strings.Trim(request.HostOverride, "[]")
		}
		config.ServerName = host
	}
	if request.CAPEM != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM([]byte(request.CAPEM))
		config.RootCAs = roots
	}
	if !elsewhere && request.ClientCertPEM != "" { // it is a credential
		certificate, err := tls.X509KeyPair([]byte(request.ClientCertPEM), []byte(a.target.Secrets.ClientKeyPEM))
		if err == nil { // Target.Check has seen to it
			config.Certificates = []tls.Certificate{certificate}
		}
	}
	return config
}
