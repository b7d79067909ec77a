package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"riverqueue.com/riverui"
)

// riverUI says what River UI may do: it has no access control of its own, and who may write there can stop all scans.
type riverUI string

const (
	riverUIOff   riverUI = "off"
	riverUIRead  riverUI = "read"
	riverUIWrite riverUI = "write"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *riverUI) UnmarshalText(text []byte) error {
	switch *u = riverUI(text); *u {
	case riverUIOff, riverUIRead, riverUIWrite:
		return nil
	}
	return fmt.Errorf("%q is none of them", text)
}

// riverUI makes River UI, which answers people on this machine alone.
func (s *server) riverUI(ctx context.Context) (http.Handler, error) {
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(s.queue, nil),
		Logger:    s.quiet(s.config),
		Prefix:    "/river",
	})
	if err != nil {
		return nil, fmt.Errorf("make River UI: %w", err)
	}
	if err := ui.Start(ctx); err != nil {
		return nil, fmt.Errorf("start River UI: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case !fromHere(r):
			http.Error(w, "River UI answers on the machine that it runs on alone, as it has no access control.", http.StatusForbidden)
		case !reads && s.config.RiverUI != riverUIWrite:
			http.Error(w, "River UI may not write here: see RIVERWATCH_RIVER_UI.", http.StatusForbidden)
		default:
			w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'") // it is not made for more
			ui.ServeHTTP(w, r)
		}
	}), nil
}

// fromHere reports whether a request comes from this machine, and not through a proxy on it, which says so.
func fromHere(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
