package probe

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

func TestRecordText(t *testing.T) {
	t.Parallel()
	name := dnsmessage.MustNewName("shop.test.")
	for want, body := range map[string]dnsmessage.ResourceBody{
		"192.0.2.1":          &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		"2001:db8::1":        &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}},
		"shop.test.":         &dnsmessage.NSResource{NS: name},
		"10 shop.test.":      &dnsmessage.MXResource{Pref: 10, MX: name},
		"v=spf1 -all":        &dnsmessage.TXTResource{TXT: []string{"v=spf1 ", "-all"}},
		"1 2 443 shop.test.": &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 443, Target: name},
		"shop.test. shop.test. 1 2 3 4 5": &dnsmessage.SOAResource{
			NS: name, MBox: name, Serial: 1, Refresh: 2, Retry: 3, Expire: 4, MinTTL: 5,
		},
		"": &dnsmessage.OPTResource{},
	} {
		require.Equal(t, want, recordText(body))
	}
	require.Equal(t, "shop.test.", recordText(&dnsmessage.CNAMEResource{CNAME: name}))
	require.Equal(t, "shop.test.", recordText(&dnsmessage.PTRResource{PTR: name}))
}

func TestCleanExcerpt(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a\nb\tc\uFFFD\uFFFD\uFFFD", cleanExcerpt("a\r\nb\tc\x00\u202e\xff"))
	long := cleanExcerpt(string(make([]byte, 1023)))
	require.LessOrEqual(t, len(long), 1024)
	require.Zero(t, len(long)%3, "no character is cut")
}
