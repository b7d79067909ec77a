package main

import (
	"context"
	"net/http"
	"time"

	"riverwatch/httpapi"
)

// handler joins the API, its documentation and River UI behind one set of headers. Requests that a browser makes for
// another site are refused, which River UI itself would not do.
func (s *server) handler(ctx context.Context) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("/", httpapi.New(httpapi.Config{
		Pool: s.pool, Queue: s.queue, Policy: s.policy, Version: version, Now: time.Now, Logger: s.logger,
		Traces: s.traces, Keep: s.config.keep(),
	}))
	if s.config.RiverUI != riverUIOff {
		ui, err := s.riverUI(ctx)
		if err != nil {
			return nil, err
		}
		mux.Handle("/river/", ui)
	}
	mux.Handle("GET /{$}", http.RedirectHandler("/docs/", http.StatusFound))
	protected := s.config.Hosts.only(http.NewCrossOriginProtection().Handler(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A browser is to do as little as it can with an answer. A page that needs more has a policy of its own instead.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		protected.ServeHTTP(w, r)
	}), nil
}
