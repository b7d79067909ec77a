package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"riverwatch/uptime"
)

type dnsProtocol struct{}

func (dnsProtocol) mayRepeat(Target) bool { return true } // a question changes nothing

// rest gives the name and the type that a DNS server is asked for.
func (dnsProtocol) rest(u *url.URL) (string, error) {
	name, err := normalName(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return "", inputError("url_path", "the path must be the name to ask for, such as dns://9.9.9.9/example.com?type=A")
	}
	query, err := url.ParseQuery(u.RawQuery)
	kind := strings.ToUpper(cmp.Or(strings.Join(query["type"], ","), "A")) // twice makes one that is not known
	_, known := dnsTypeOf(kind)
	delete(query, "type")
	if err != nil || !known || len(query) > 0 {
		return "", inputError("url_query", "the query must be ?type= with A, AAAA, CNAME, MX, NS, PTR, SOA, SRV or TXT")
	}
	return "/" + strings.TrimSuffix(name, ".") + "?type=" + kind, nil
}

func dnsTypeOf(name string) (dnsmessage.Type, bool) {
	switch name {
	case "A":
		return dnsmessage.TypeA, true
	case "AAAA":
		return dnsmessage.TypeAAAA, true
	case "CNAME":
		return dnsmessage.TypeCNAME, true
	case "MX":
		return dnsmessage.TypeMX, true
	case "NS":
		return dnsmessage.TypeNS, true
	case "PTR":
		return dnsmessage.TypePTR, true
	case "SOA":
		return dnsmessage.TypeSOA, true
	case "SRV":
		return dnsmessage.TypeSRV, true
	case "TXT":
		return dnsmessage.TypeTXT, true
	}
	return 0, false
}

// ask asks the DNS server in a URL for the records of the name in its path. Its answer, a line for each record, is
// what the regexp is matched against.
func (dnsProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	kind, known := dnsTypeOf(target.Query().Get("type"))
	name, err := dnsmessage.NewName(strings.TrimPrefix(target.Path, "/") + ".")
	if !known || err != nil {
		return unchecked
	}
	question := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	answer, v := a.ask(ctx, hop, "udp", dialAddress(target), question)
	if v.outcome == "" && answer.Truncated {
		answer, v = a.ask(ctx, hop, "tcp", dialAddress(target), question)
	}
	if v.outcome != "" {
		return v
	}

	switch answer.RCode { //nolint:exhaustive // the others are errors
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return verdict{uptime.DNSNXDomain, "the server knows no such name (NXDOMAIN)"}
	case dnsmessage.RCodeServerFailure:
		return verdict{uptime.DNSServfail, "the server failed to resolve the name (SERVFAIL)"}
	default:
		return verdict{uptime.DNSError, "the server answers with the error " + strings.TrimPrefix(answer.RCode.String(), "RCode")}
	}
	var lines []string
	for _, record := range answer.Answers {
		if record.Header.Type == kind {
			lines = append(lines, recordText(record.Body))
		}
	}
	if len(lines) == 0 {
		return verdict{uptime.DNSEmpty, "the name exists, but has no such record"}
	}
	text := []byte(strings.Join(lines, "\n"))
	a.result.BodyBytes = new(int64(len(text)))
	a.excerpt(text)
	a.expectText(ctx, text)
	return a.met(verdict{uptime.OK, ""})
}

// ask puts a question to a server over one network, and gives its answer or a verdict.
func (a *attempt) ask(
	ctx context.Context, hop *hop, network, address string, question dnsmessage.Question,
) (*dnsmessage.Message, verdict) {
	conn, err := hop.dial(ctx, network, address)
	if err != nil {
		return nil, hop.connectVerdict(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true}, //nolint:gosec // a connected socket
		Questions: []dnsmessage.Question{question},
	}
	hop.enter(inHeader)
	exchange := exchangeUDP
	if network == "tcp" {
		exchange = exchangeTCP
	}
	answer, err := exchange(ctx, hop, conn, query)
	if err == nil {
		hop.received()
		return answer, verdict{}
	}
	// What the wait for an answer means is another thing here: the target is a DNS server.
	v := headerVerdict(ctx, err)
	switch {
	case errors.Is(err, errNotDNS):
		v = verdict{uptime.DNSError, "what the server answers is not DNS"}
	case v.outcome == uptime.TimeoutHeader:
		v = timeout(inDNS)
	case ctx.Err() == nil && isRefused(err):
		v = tcpVerdict(err)
	}
	return nil, v
}

var errNotDNS = errors.New("not a DNS message")

// exchangeUDP sends a query until it is answered. Answers to other questions are forged, and passed over.
func exchangeUDP(ctx context.Context, hop *hop, conn net.Conn, query dnsmessage.Message) (*dnsmessage.Message, error) {
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	buffer := make([]byte, 64<<10)
	var answer dnsmessage.Message
	err = askUntilAnswered(ctx, hop, conn, func() error {
		_, err := conn.Write(packed)
		return err
	}, func() (bool, error) {
		n, err := conn.Read(buffer)
		return err == nil && answer.Unpack(buffer[:n]) == nil && answers(answer, query), err
	})
	return &answer, err
}

// exchangeTCP sends a query and reads the answer, each with its length before it.
func exchangeTCP(_ context.Context, hop *hop, conn net.Conn, query dnsmessage.Message) (*dnsmessage.Message, error) {
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	hop.mark(&hop.requested)
	length := [2]byte{byte(len(packed) >> 8), byte(len(packed))} //nolint:gosec // a question has at most 271 bytes
	if _, err := conn.Write(append(length[:], packed...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	hop.mark(&hop.firstByteAt)
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	var answer dnsmessage.Message
	if answer.Unpack(message) != nil || !answers(answer, query) {
		return nil, errNotDNS
	}
	return &answer, nil
}

func answers(answer, query dnsmessage.Message) bool {
	return answer.Response && answer.ID == query.ID && len(answer.Questions) == 1 &&
		answer.Questions[0].Type == query.Questions[0].Type &&
		strings.EqualFold(answer.Questions[0].Name.String(), query.Questions[0].Name.String())
}

// recordText writes a record as zone files do, without name, TTL and class.
func recordText(body dnsmessage.ResourceBody) string {
	switch r := body.(type) {
	case *dnsmessage.AResource:
		return net.IP(r.A[:]).String()
	case *dnsmessage.AAAAResource:
		return net.IP(r.AAAA[:]).String()
	case *dnsmessage.CNAMEResource:
		return r.CNAME.String()
	case *dnsmessage.NSResource:
		return r.NS.String()
	case *dnsmessage.PTRResource:
		return r.PTR.String()
	case *dnsmessage.MXResource:
		return fmt.Sprint(r.Pref, " ", r.MX)
	case *dnsmessage.SRVResource:
		return fmt.Sprint(r.Priority, " ", r.Weight, " ", r.Port, " ", r.Target)
	case *dnsmessage.TXTResource:
		return strings.Join(r.TXT, "")
	case *dnsmessage.SOAResource:
		return fmt.Sprint(r.NS, " ", r.MBox, " ", r.Serial, " ", r.Refresh, " ", r.Retry, " ", r.Expire, " ", r.MinTTL)
	}
	return ""
}
