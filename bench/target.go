package main

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// targetHosts is how many addresses the target has: a pair of addresses has no more than some 28,000 connections a
// minute, as each leaves its port in TIME_WAIT.
const targetHosts = 32

// targetHost gives an address of the target; monitors of one block share it.
func targetHost(block int) string { return fmt.Sprintf("127.0.64.%d", 1+block%targetHosts) }

// A key names a monitor by the path of its URL, /block/number.
type key uint32

const numberBits = 20

func keyOf(block, number int) key { return key(block<<numberBits | number) }

// parseKey reads the path of a URL.
func parseKey(path string) (key, bool) {
	block, number, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	b, err1 := strconv.ParseUint(block, 10, 32-numberBits)
	n, err2 := strconv.ParseUint(number, 10, numberBits)
	return keyOf(int(b), int(n)), ok && err1 == nil && err2 == nil
}

// A ledger is every request that the target was asked, in the order of arrival.
type ledger struct {
	Keys []key
	At   []int64 // microseconds of Unix time
}

// targetInfo is what a target says of itself when it is ready.
type targetInfo struct {
	Port    int    `json:"port"`
	Control string `json:"control"` // where its ledger is
	PID     int    `json:"pid"`
}

// A target is the child process that answers monitors and keeps the ledger.
type target struct {
	answer []byte

	mu     sync.Mutex
	ledger ledger
}

// serveTarget is the part of the child process: it prints its targetInfo, and answers until ctx is done.
func serveTarget(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	caFile := flags.String("ca", "", "speak TLS, and write the certificate to trust to this file")
	seed := flags.Uint64("seed", 1, "of the answer's size")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	size := 500 + rand.New(rand.NewPCG(*seed, 0)).IntN(1000)
	t := &target{answer: []byte(strings.Repeat("All is well. ", size/13+1)[:size])}

	listeners, port, err := listenEverywhere(ctx)
	if err != nil {
		return err
	}
	if *caFile != "" {
		if listeners, err = withTLS(listeners, *caFile); err != nil {
			return err
		}
	}
	control, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the control: %w", err)
	}
	if err := json.NewEncoder(stdout).Encode(targetInfo{Port: port, Control: control.Addr().String()}); err != nil {
		return fmt.Errorf("say where the target is: %w", err)
	}
	return t.serve(ctx, listeners, control)
}

// listenEverywhere listens on all addresses of the target, at one port.
func listenEverywhere(ctx context.Context) (listeners []net.Listener, port int, err error) {
	for range 20 {
		if listeners, port, err = listenOnOnePort(ctx); err == nil {
			return listeners, port, nil
		}
	}
	return nil, 0, fmt.Errorf("listen for the target: %w", err)
}

func listenOnOnePort(ctx context.Context) (listeners []net.Listener, port int, err error) {
	for block := range targetHosts {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(targetHost(block), strconv.Itoa(port)))
		if err != nil {
			for _, listener := range listeners {
				_ = listener.Close()
			}
			return nil, 0, err //nolint:wrapcheck // the caller's
		}
		if address, ok := listener.Addr().(*net.TCPAddr); ok {
			port = address.Port
		}
		listeners = append(listeners, listener)
	}
	return listeners, port, nil
}

func (t *target) serve(ctx context.Context, listeners []net.Listener, control net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	serve := func(listener net.Listener, handler http.HandlerFunc) {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 2 * time.Minute, ErrorLog: silent}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		})
	}
	for _, listener := range listeners {
		serve(listener, t.serveMonitor)
	}
	serve(control, t.serveControl)
	return group.Wait()
}

func (t *target) serveMonitor(w http.ResponseWriter, r *http.Request) {
	at := time.Now().UnixMicro()
	asked, ok := parseKey(r.URL.Path)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	t.mu.Lock()
	t.ledger.Keys = append(t.ledger.Keys, asked)
	t.ledger.At = append(t.ledger.At, at)
	t.mu.Unlock()
	_, _ = w.Write(t.answer)
}

// serveControl answers how many requests there were, or, to POST, all of them, which it forgets.
func (t *target) serveControl(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Method == http.MethodPost {
		_ = gob.NewEncoder(w).Encode(t.ledger)
		t.ledger = ledger{}
		return
	}
	fmt.Fprint(w, len(t.ledger.Keys))
}
