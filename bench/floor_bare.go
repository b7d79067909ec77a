package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// bareFetcher makes the fetches of the fastest loop that we can write in Go: the request is encoded before the clock runs,
// is written at once to a connection that nobody shares, and one goroutine does it all. It reads what a probe reads of a
// good answer: its header, by http.ReadResponse, and its body to the end.
func bareFetcher(config *tls.Config) func(url string) (fetcher, error) {
	dialer := &net.Dialer{KeepAlive: -1}
	readers := &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	configs := map[string]*tls.Config{} // by host
	return func(text string) (fetcher, error) {
		to, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("parse the URL: %w", err)
		}
		address, err := netip.ParseAddrPort(to.Host)
		if err != nil {
			return nil, fmt.Errorf("read the address of %s: %w", text, err)
		}
		asked, err := encodeGet(text)
		if err != nil {
			return nil, err
		}
		var secure *tls.Config
		if to.Scheme == "https" {
			if secure = configs[to.Host]; secure == nil {
				secure = config.Clone()
				secure.ServerName = to.Hostname()
				configs[to.Host] = secure
			}
		}
		return func(ctx context.Context) error {
			conn, err := dial(ctx, dialer, address, secure)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write(asked); err != nil {
				return fmt.Errorf("ask: %w", err)
			}
			reader, _ := readers.Get().(*bufio.Reader)
			defer readers.Put(reader)
			reader.Reset(conn)
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			defer func() { _ = answer.Body.Close() }()
			return finish(answer)
		}, nil
	}
}

// encodeGet gives the bytes of a request, such as the loops and a probe send.
func encodeGet(text string) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, text, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Close = true
	var encoded bytes.Buffer
	if err := request.Write(&encoded); err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return encoded.Bytes(), nil
}

func dial(ctx context.Context, dialer *net.Dialer, address netip.AddrPort, secure *tls.Config) (net.Conn, error) {
	plain, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := plain.SetDeadline(time.Now().Add(fetchTime)); err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	if secure == nil {
		return plain, nil
	}
	return tls.Client(plain, secure), nil
}

// finish reads an answer's body to its end.
func finish(answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return nil
}
