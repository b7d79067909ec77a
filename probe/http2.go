package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
)

// exchange2 is exchange1 in HTTP/2, which net/http speaks over the connection that it is given.
func exchange2(
	ctx context.Context, hop *hop, conn net.Conn, asked *http.Request,
) (answer *http.Response, v verdict) {
	given := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := http.Transport{ //nolint:forbidigo // it has its connection already, and makes none
		DialContext:            given,
		DialTLSContext:         given,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              new(http.Protocols),
		// What comes is buffered also while nobody reads it, because he waits for memory: by default 4 MiB.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10},
	}
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	client, err := transport.NewClientConn(ctx, asked.URL.Scheme, dialAddress(asked.URL))
	if err != nil {
		_ = conn.Close()
		return nil, hop.connectVerdict(ctx, err)
	}
	hop.enter(inHeader)
	hop.mark(&hop.sent)
	answer, err = client.RoundTrip(asked.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { hop.mark(&hop.requested) },
		GotFirstResponseByte: func() { hop.mark(&hop.firstByteAt) },
	})))
	if err != nil {
		_ = client.Close()
		return nil, headerVerdict(ctx, err)
	}
	answer.Body = &wholeBody{answer.Body, client}
	return answer, verdict{}
}

// A wholeBody is closed with its connection.
type wholeBody struct {
	io.ReadCloser

	client *http.ClientConn
}

func (b *wholeBody) Close() error { return errors.Join(b.client.Close(), b.ReadCloser.Close()) }
