package hostile

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// DNS answers with the addresses of these hosts, and of any other name that it does not exist; but to servfail.test it
// answers that it failed, and to silent.test nothing at all. DNS returns its own address.
func DNS(tb testing.TB, hosts map[string][]string) string {
	tb.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	var wait sync.WaitGroup
	wait.Go(func() {
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			if answer := answerDNS(query[:n], hosts); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	})
	tb.Cleanup(func() {
		_ = conn.Close()
		wait.Wait()
	})
	return conn.LocalAddr().String()
}

func answerDNS(query []byte, hosts map[string][]string) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}

	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	name := strings.TrimSuffix(question.Name.String(), ".")
	addresses, known := hosts[name]
	switch {
	case name == "silent.test":
		return nil
	case name == "servfail.test":
		message.RCode = dnsmessage.RCodeServerFailure
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	}
	message.Answers = records(question, addresses)
	answer, err := message.Pack()
	if err != nil {
		return nil
	}
	return answer
}

func records(question dnsmessage.Question, addresses []string) []dnsmessage.Resource {
	var records []dnsmessage.Resource
	for _, address := range addresses {
		addr := netip.MustParseAddr(address)
		header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, Type: question.Type}
		switch {
		case addr.Is4() && question.Type == dnsmessage.TypeA:
			records = append(records, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && question.Type == dnsmessage.TypeAAAA:
			records = append(records, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return records
}
