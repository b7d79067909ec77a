package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// worstInfo is what the worst target says of itself when it is ready.
type worstInfo struct {
	Port    int `json:"port"`
	TLSPort int `json:"tls_port"`
}

// A worst target answers so that whoever asks has to hold as much as possible, and then says nothing more. The path of
// the request, /kind/number, says how.
type worst struct {
	answers map[string][]byte
	tls     *tls.Config
}

const worstBodyBytes = 1 << 20

// serveWorst is the part of the child process: it prints its worstInfo, and answers until ctx is done.
func serveWorst(ctx context.Context, stdout io.Writer) error {
	w := &worst{answers: worstAnswers()}
	var err error
	if w.tls, err = worstTLS(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	var info worstInfo
	for port, secured := range map[*int]bool{&info.Port: false, &info.TLSPort: true} {
		listeners, free, err := listenEverywhere(ctx)
		if err != nil {
			return err
		}
		*port = free
		for _, listener := range listeners {
			context.AfterFunc(ctx, func() { _ = listener.Close() })
			group.Go(func() error { return w.serve(ctx, listener, secured) })
		}
	}
	if err := json.NewEncoder(stdout).Encode(info); err != nil {
		return fmt.Errorf("say where the target is: %w", err)
	}
	return group.Wait()
}

func worstAnswers() map[string][]byte {
	const start = "HTTP/1.1 200 OK\r\n"
	body := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", start, worstBodyBytes, strings.Repeat("a", worstBodyBytes-1))
	var tiny, long strings.Builder
	for n := 0; tiny.Len() < 64<<10-len(start); n++ {
		fmt.Fprintf(&tiny, "%x:\n", n)
	}
	for n := range 254 { // as many as are read, of 64 KiB together
		fmt.Fprintf(&long, "%x: %s\r\n", n, strings.Repeat("b", 248))
	}
	page := strings.Repeat("a", 100<<10) + "All is well"
	return map[string][]byte{
		"body":        []byte(body),
		"tiny":        []byte(start + tiny.String()),
		"long":        []byte(start + long.String()),
		"certificate": []byte(body),
		"well":        fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", start, len(page), page),
	}
}

func (w *worst) serve(ctx context.Context, listener net.Listener, secured bool) error {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if secured {
			conn = tls.Server(conn, w.tls)
		}
		go w.answer(ctx, conn)
	}
}

// answer sends what is asked for, and holds the connection until the other side closes it.
func (w *worst) answer(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	reader := bufio.NewReaderSize(conn, 1<<10)
	first, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	_, path, _ := strings.Cut(first, " /")
	kind, _, _ := strings.Cut(path, "/")
	if _, err := conn.Write(w.answers[kind]); err == nil && kind != "well" {
		_, _ = io.Copy(io.Discard, reader)
	}
}

// worstTLS has a certificate of 10,000 names, another one for each connection: what is the same crypto/tls keeps once. It is
// the same but for its serial number, and so not signed by anyone, which nobody verifies.
func worstTLS() (*tls.Config, error) {
	template := certificateOf("worst target")
	const serial = 0x0102030405060708
	template.SerialNumber.SetInt64(serial)
	for n := range 10_000 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("%06d.example.com", n))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	at := strings.Index(string(der), string(binary.BigEndian.AppendUint64(nil, serial)))
	var count atomic.Uint64
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own := slices.Clone(der)
			binary.BigEndian.PutUint64(own[at:], serial+count.Add(1))
			return &tls.Certificate{Certificate: [][]byte{own}, PrivateKey: key}, nil
		},
	}, nil
}
