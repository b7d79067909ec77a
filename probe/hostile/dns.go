package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// maxUDPMessage is what fits in a packet without EDNS(0). What is longer is truncated, and asked for over TCP.
const maxUDPMessage = 512

// DNS is a DNS server that answers with the addresses of hosts, and of any other name that it does not exist. These it
// lies about:
//
//	servfail.test   fails
//	refused.test    will not say
//	silent.test     no answer at all
//	empty.test      exists, and has no record
//	loop.test       an alias of loop2.test, which is an alias of loop.test
//	garbage.test    bytes that are no DNS
//	many.test       500 addresses, 127.1.0.1 to 127.1.1.244, which fit into no packet
//	stall.test      truncated, and over TCP no answer at all
//	rebind.test     a public address (192.0.32.8) at first, from the second question on 127.0.0.1
//
// DNS returns its own address, for UDP and TCP.
func DNS(tb testing.TB, hosts map[string][]string) netip.AddrPort {
	tb.Helper()
	conn, listener := listenDNS(tb)
	server := &dnsServer{hosts: hosts}
	var wait sync.WaitGroup
	wait.Go(func() { server.serveUDP(conn) })
	serveOn(tb, listener, server.answerTCP)
	tb.Cleanup(func() {
		_ = conn.Close()
		wait.Wait()
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// listenDNS gives a port that is free for UDP and TCP.
func listenDNS(tb testing.TB) (*net.UDPConn, *net.TCPListener) {
	for {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(tb, err)
		port := conn.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // as listened above
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return conn, listener
		}
		_ = conn.Close()
	}
}

type dnsServer struct {
	hosts   map[string][]string
	rebinds atomic.Int32
}

func (s *dnsServer) serveUDP(conn *net.UDPConn) {
	query := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(query)
		if err != nil {
			return
		}
		name, answer := s.answer(query[:n])
		switch {
		case name == "stall.test", len(answer) > maxUDPMessage:
			answer = truncated(query[:n])
		case name == "garbage.test":
			answer = []byte("this is no DNS at all")
		}
		if answer != nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

func (s *dnsServer) answerTCP(conn *net.TCPConn) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	name, answer := s.answer(query)
	if name == "stall.test" || answer == nil {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	write(conn, append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
}

// answer gives the name that is asked for, and the answer; nil: none.
func (s *dnsServer) answer(query []byte) (name string, answer []byte) {
	message, ok := answerTo(query)
	if !ok {
		return "", nil
	}
	question := message.Questions[0]
	name = strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	addresses, known := s.addresses(name, question.Type)
	switch {
	case name == "silent.test":
		return name, nil
	case name == "servfail.test":
		message.RCode = dnsmessage.RCodeServerFailure
	case name == "refused.test":
		message.RCode = dnsmessage.RCodeRefused
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	}
	message.Answers = records(question, addresses)
	if name == "loop.test" {
		message.Answers = []dnsmessage.Resource{alias("loop.test.", "loop2.test."), alias("loop2.test.", "loop.test.")}
	}
	answer, err := message.Pack()
	if err != nil {
		return name, nil
	}
	return name, answer
}

func (s *dnsServer) addresses(name string, kind dnsmessage.Type) (addresses []string, known bool) {
	switch name {
	case "empty.test", "loop.test", "garbage.test", "stall.test":
		return nil, true
	case "many.test":
		for i := range 500 {
			addresses = append(addresses, fmt.Sprintf("127.1.%d.%d", i/256, 1+i%256%255))
		}
		return addresses, true
	case "rebind.test":
		if kind == dnsmessage.TypeA && s.rebinds.Add(1) == 1 {
			return []string{"192.0.32.8"}, true
		}
		return []string{"127.0.0.1"}, true
	}
	addresses, known = s.hosts[name]
	return addresses, known
}

// answerTo gives an empty answer to a query.
func answerTo(query []byte) (message dnsmessage.Message, ok bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return message, false
	}
	question, err := parser.Question()
	if err != nil {
		return message, false
	}
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}, true
}

func truncated(query []byte) []byte {
	message, ok := answerTo(query)
	message.Truncated = true
	answer, err := message.Pack()
	if !ok || err != nil {
		return nil
	}
	return answer
}

func alias(name, of string) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{
			Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, Type: dnsmessage.TypeCNAME,
		},
		Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(of)},
	}
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
