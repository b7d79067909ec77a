package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
)

// netHTTPFetcher makes the fetches of the loop that a Go programmer would write.
func netHTTPFetcher(config *tls.Config) func(url string) (fetcher, error) {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}, Timeout: fetchTime,
	}
	return func(url string) (fetcher, error) {
		return func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
			if err != nil {
				return fmt.Errorf("make the request: %w", err)
			}
			answer, err := client.Do(request)
			if err != nil {
				return fmt.Errorf("fetch: %w", err)
			}
			defer func() { _ = answer.Body.Close() }()
			return finish(answer)
		}, nil
	}
}
