package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the API on this machine whether it is ready; for containers, whose image has no curl",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.healthcheck(cmd.Context()) },
	}
}

func (p *program) healthcheck(ctx context.Context) error {
	config, _, err := p.settings()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(config.Listen).String()+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	client := http.Client{Transport: &http.Transport{}} // whatever proxies the environment names: they cannot reach us
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask whether the API is ready: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // nothing is lost
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the API is not ready: status %d", response.StatusCode)
	}
	return nil
}
