package probe_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
)

// What is kept of a certificate is bounded, whatever it holds.
func TestCertificateOfManyNames(t *testing.T) {
	t.Parallel()
	many := func(length int) (names []string) {
		for n := range 10_000 {
			names = append(names, fmt.Sprintf("%0*d", length, n))
		}
		return names
	}
	ip := net.IPv4(127, 0, 0, 1)

	kept := probe.NewCertificate(&x509.Certificate{DNSNames: many(10), IPAddresses: []net.IP{ip}})
	require.Equal(t, many(10)[:100], kept.Names)
	kept = probe.NewCertificate(&x509.Certificate{DNSNames: many(10)[:99], IPAddresses: []net.IP{ip, ip}})
	require.Equal(t, append(many(10)[:99], "127.0.0.1"), kept.Names)
	kept = probe.NewCertificate(&x509.Certificate{DNSNames: many(100)})
	require.Equal(t, many(100)[:40], kept.Names, "4 KiB of them")
	require.Less(t, cap(kept.Names), 100, "the others are not held")
	kept = probe.NewCertificate(&x509.Certificate{DNSNames: []string{strings.Repeat("a", 10_000)}})
	require.Len(t, kept.Names[0], 200)
	require.NotNil(t, probe.NewCertificate(&x509.Certificate{}).Names, "the database knows no null of it")
}
