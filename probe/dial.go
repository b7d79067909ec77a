package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
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
