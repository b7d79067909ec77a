package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts is a comma-separated list of names by which this installation is reached.
type hosts []string

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hosts) UnmarshalText(text []byte) error {
	for name := range strings.SplitSeq(string(text), ",") {
		name = normalHost(strings.TrimSpace(name))
		if name == "" || strings.ContainsAny(name, "/:*@ ") {
			return fmt.Errorf("%q is no name of a host", name)
		}
		*h = append(*h, name)
	}
	return nil
}

func normalHost(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// only lets requests through that name a host of ours: one of the list, localhost, a loopback address, or the address at
// which they came in. Others are refused with 421: a page that lets its own name lead to our address (DNS rebinding) is
// of the same origin as we are for its reader's browser, and could do all that the reader may.
func (h hosts) only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if host, _, err := net.SplitHostPort(r.Host); err == nil {
			name = host
		}
		name = normalHost(strings.Trim(name, "[]"))
		ours := name == "localhost" || slices.Contains(h, name)
		if addr, err := netip.ParseAddr(name); err == nil {
			came, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
			ours = addr.Unmap().IsLoopback() || came != nil && came.AddrPort().Addr().Unmap() == addr.Unmap()
		}
		if !ours {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusMisdirectedRequest)
			_, _ = w.Write([]byte(`{"title":"Misdirected Request","status":421,"code":"host_unknown",` +
				`"detail":"This is not a host of ours. If it is, name it in RIVERWATCH_HOSTS."}` + "\n"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
