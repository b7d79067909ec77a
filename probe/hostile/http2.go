package hostile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// H2 gives the HTTP/2 behaviours by name: each has read the request's headers, and answers as it likes. Over TLS, with a
// certificate that nobody vouches for.
func H2() map[string]func(testing.TB) string {
	servers := map[string]func(testing.TB) string{}
	for name, answer := range map[string]func(*http2.Framer, uint32){
		"good":               goodH2,
		"goaway":             func(f *http2.Framer, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"rst_stream":         func(f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeInternal) },
		"rst_mid_body":       resetH2MidBody,
		"headers_too_large":  largeHeaderH2,
		"continuation_flood": continuationFlood,
		"interim_flood":      interimFlood,
		"endless_body":       endlessH2,
		"ping_flood":         func(f *http2.Framer, _ uint32) { repeat(func() error { return f.WritePing(false, [8]byte{}) }) },
		"settings_flood":     func(f *http2.Framer, _ uint32) { repeat(func() error { return f.WriteSettings() }) },
		"push_promise":       pushPromise,
		"large_frame":        func(f *http2.Framer, id uint32) { _ = f.WriteRawFrame(http2.FrameData, 0, id, make([]byte, 1<<20)) },
		"no_status":          func(f *http2.Framer, id uint32) { writeHeaders(f, id, true, "content-type", "text/plain") },
		"odd_status": func(f *http2.Framer, id uint32) {
			writeHeaders(f, id, true, ":status", "999", "content-type", "application/grpc")
		},
		"silent": func(*http2.Framer, uint32) {},
	} {
		servers[name] = func(tb testing.TB) string { return h2Server(tb, answer) }
	}
	return servers
}

// h2Server reads one request and has it answered, then reads on until the client hangs up.
func h2Server(tb testing.TB, answer func(framer *http2.Framer, stream uint32)) string {
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(tb, &x509.Certificate{})}, NextProtos: []string{"h2"}}
	return https(serve(tb, func(conn *net.TCPConn) {
		secure := tls.Server(conn, config)
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(secure, preface); err != nil {
			return
		}
		framer := http2.NewFramer(secure, secure)
		if framer.WriteSettings() != nil {
			return
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if headers, ok := frame.(*http2.HeadersFrame); ok {
				answer(framer, headers.StreamID)
			}
		}
	}))
}

func headerBlock(pairs ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return block.Bytes()
}

func writeHeaders(framer *http2.Framer, stream uint32, end bool, pairs ...string) {
	_ = framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: headerBlock(pairs...), EndHeaders: true, EndStream: end,
	})
}

func goodH2(framer *http2.Framer, stream uint32) {
	writeHeaders(framer, stream, false, ":status", "200")
	_ = framer.WriteData(stream, true, []byte("ok"))
}

func resetH2MidBody(framer *http2.Framer, stream uint32) {
	writeHeaders(framer, stream, false, ":status", "200")
	_ = framer.WriteData(stream, false, []byte("hello"))
	_ = framer.WriteRSTStream(stream, http2.ErrCodeInternal)
}

// largeHeaderH2 sends a header of 70 KiB, in lines and frames of a size that is allowed.
func largeHeaderH2(framer *http2.Framer, stream uint32) {
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headerBlock(":status", "200")})
	for i := range 7 {
		line := headerBlock(fmt.Sprint("x-filler-", i), strings.Repeat("a", 10<<10))
		if framer.WriteContinuation(stream, i == 6, line) != nil {
			return
		}
	}
}

func continuationFlood(framer *http2.Framer, stream uint32) {
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headerBlock(":status", "200")})
	filler := headerBlock("x-filler", "all work and no play makes jack a dull boy")
	repeat(func() error { return framer.WriteContinuation(stream, false, filler) })
}

func interimFlood(framer *http2.Framer, stream uint32) {
	block := headerBlock(":status", "103", "link", "</style.css>; rel=preload")
	repeat(func() error {
		return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true})
	})
}

// endlessH2 sends a body without end, as the client's windows allow.
func endlessH2(framer *http2.Framer, stream uint32) {
	writeHeaders(framer, stream, false, ":status", "200")
	data := make([]byte, 8<<10)
	windows := map[uint32]int{0: 65535, stream: 65535} // of the connection, and of the stream
	for {
		for min(windows[0], windows[stream]) < len(data) {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if update, ok := frame.(*http2.WindowUpdateFrame); ok {
				windows[update.StreamID] += int(update.Increment)
			}
		}
		if framer.WriteData(stream, false, data) != nil {
			return
		}
		windows[0] -= len(data)
		windows[stream] -= len(data)
	}
}

func pushPromise(framer *http2.Framer, stream uint32) {
	_ = framer.WritePushPromise(http2.PushPromiseParam{
		StreamID: stream, PromiseID: 2, BlockFragment: headerBlock(":method", "GET", ":path", "/"), EndHeaders: true,
	})
}

func repeat(write func() error) {
	for write() == nil {
	}
}
