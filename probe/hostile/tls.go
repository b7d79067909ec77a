package hostile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// SilentTLS takes the client's hello and never answers.
func SilentTLS(tb testing.TB) string {
	return https(serve(tb, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }))
}

// PlainHTTPBehindHTTPS answers a TLS hello as a server of plain HTTP does.
func PlainHTTPBehindHTTPS(tb testing.TB) string {
	return https(serve(tb, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 4<<10))
		write(conn, []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	}))
}

// HangsUpTLS takes the client's hello and closes the connection.
func HangsUpTLS(tb testing.TB) string {
	return https(serve(tb, func(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 4<<10)) }))
}

// ExpiredTLS has a certificate that was valid until yesterday.
func ExpiredTLS(tb testing.TB) string {
	return TLS(tb, &x509.Certificate{NotAfter: time.Now().Add(-24 * time.Hour)})
}

// NotYetValidTLS has a certificate that will be valid from tomorrow.
func NotYetValidTLS(tb testing.TB) string {
	return TLS(tb, &x509.Certificate{NotBefore: time.Now().Add(24 * time.Hour)})
}

// WrongNameTLS has a certificate for another host.
func WrongNameTLS(tb testing.TB) string {
	return TLS(tb, &x509.Certificate{DNSNames: []string{"other.example"}})
}

// UntrustedTLS has a certificate for its address that nobody vouches for.
func UntrustedTLS(tb testing.TB) string { return TLS(tb, &x509.Certificate{}) }

// OldTLS speaks TLS 1.1 at most.
func OldTLS(tb testing.TB) string {
	return serveTLS(tb, &tls.Config{
		Certificates: []tls.Certificate{selfSigned(tb, &x509.Certificate{})}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
}

// WantsClientTLS refuses clients without a certificate. caPEM vouches for its own.
func WantsClientTLS(tb testing.TB) (url, caPEM string) {
	certificate := selfSigned(tb, &x509.Certificate{})
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert}
	return serveTLS(tb, config), CertificatePEM(certificate.Leaf)
}

// CertificatePEM gives a certificate as a PEM text.
func CertificatePEM(certificate *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
}

// ClientPEM makes a certificate for a client, and its key.
func ClientPEM(tb testing.TB) (certPEM, keyPEM string) {
	certificate := selfSigned(tb, &x509.Certificate{})
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(tb, err)
	return CertificatePEM(certificate.Leaf), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// TLS answers 200 over TLS, with a self-signed certificate of this template. What the template leaves out makes a
// certificate for 127.0.0.1 that is valid now.
func TLS(tb testing.TB, template *x509.Certificate) string {
	return serveTLS(tb, &tls.Config{Certificates: []tls.Certificate{selfSigned(tb, template)}})
}

func serveTLS(tb testing.TB, config *tls.Config) string {
	return https(serve(tb, func(conn *net.TCPConn) {
		secure := tls.Server(conn, config)
		if _, err := readRequest(secure); err == nil {
			write(secure, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		}
		_ = secure.Close()
	}))
}

func selfSigned(tb testing.TB, template *x509.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	template.SerialNumber = big.NewInt(1)
	template.Subject = pkix.Name{CommonName: "hostile"}
	template.BasicConstraintsValid, template.IsCA = true, true
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-48 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(48 * time.Hour)
	}
	if template.DNSNames == nil {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(tb, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func https(url string) string { return strings.Replace(url, "http://", "https://", 1) }
