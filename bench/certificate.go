package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"time"
)

// silent is for net/http, which has a line for each connection that a client breaks.
var silent = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)

// withTLS puts TLS before listeners, with a certificate for their addresses. That of who signed it goes to a file.
func withTLS(listeners []net.Listener, caFile string) ([]net.Listener, error) {
	ca, caKey, err := issue(certificateOf("bench CA"), nil, nil)
	if err != nil {
		return nil, err
	}
	template := certificateOf("bench target")
	template.IsCA, template.KeyUsage = false, x509.KeyUsageDigitalSignature
	for block := range targetHosts {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(targetHost(block)))
	}
	leaf, key, err := issue(template, ca, caKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		return nil, fmt.Errorf("write the CA: %w", err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
		NextProtos:   []string{"http/1.1"},
	}
	secured := make([]net.Listener, len(listeners))
	for i, listener := range listeners {
		secured[i] = tls.NewListener(listener, config)
	}
	return secured, nil
}

func certificateOf(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// issue makes a certificate, signed by parent, or by itself if there is none.
func issue(
	template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey,
) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate: %w", err)
	}
	return certificate, key, nil
}
