package probe

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// What is kept of a certificate's names: some have 10,000.
const (
	maxCertificateNames = 100
	maxNamesBytes       = 4 << 10
)

// Certificate is what is kept of a target's certificate, in clean texts.
type Certificate struct {
	Fingerprint string // SHA-256 of its DER, in hexadecimal
	Subject     string
	Issuer      string
	Names       []string // DNS names, then addresses; the first 100 that are 4 KiB together
	NotBefore   time.Time
	NotAfter    time.Time
}

// Fingerprint gives the SHA-256 of a certificate.
func Fingerprint(leaf *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(leaf.Raw) }

// NewCertificate gives what is kept of a certificate.
func NewCertificate(leaf *x509.Certificate) Certificate {
	fingerprint := Fingerprint(leaf)
	names := []string{}
	for _, name := range leaf.DNSNames[:min(len(leaf.DNSNames), maxCertificateNames)] {
		names = append(names, cleanText(name))
	}
	for _, ip := range leaf.IPAddresses[:min(len(leaf.IPAddresses), maxCertificateNames-len(names))] {
		names = append(names, ip.String())
	}
	size := 0
	for i, name := range names {
		if size += len(name); size > maxNamesBytes {
			names = slices.Clone(names[:i])
			break
		}
	}
	return Certificate{
		Fingerprint: hex.EncodeToString(fingerprint[:]),
		Subject:     cleanText(leaf.Subject.String()),
		Issuer:      cleanText(leaf.Issuer.String()),
		Names:       names,
		NotBefore:   leaf.NotBefore.UTC(),
		NotAfter:    leaf.NotAfter.UTC(),
	}
}
