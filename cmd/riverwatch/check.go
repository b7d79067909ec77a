package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"riverwatch/probe"
	"riverwatch/uptime"
)

type checkFlags struct {
	regexp  string
	timeout time.Duration
	allow   []string
	json    bool
}

func (p *program) checkCommand() *cobra.Command {
	var flags checkFlags
	command := &cobra.Command{
		Use:   "check URL",
		Short: "Probe a URL once, as a scan would, and print what came of it",
		Long: `Probes a URL once with GET, as a scan would, and prints the outcome with the time of each phase.
It needs no database. Private and loopback addresses are refused unless --allow-cidr allows them.

Exit status: 0 if the outcome is good, 1 if not, 2 if the arguments are wrong.`,
		Example: `  riverwatch check https://example.com
  riverwatch check --regexp 'Example Domain' --timeout 2s --json https://example.com
  riverwatch check --allow-cidr 127.0.0.0/8 http://127.0.0.1:8080/livez`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(fmt.Errorf("check takes one URL, and got %d: see %s --help", len(args), cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.check(cmd.Context(), args[0], flags) },
	}
	command.Flags().StringVar(&flags.regexp, "regexp", "", "what the body must match (RE2 syntax)")
	command.Flags().DurationVar(&flags.timeout, "timeout", 10*time.Second, "how long it may take in all, 100ms to 30s")
	command.Flags().StringSliceVar(&flags.allow, "allow-cidr", nil, "private addresses to allow, such as 10.0.0.0/8; repeatable")
	command.Flags().BoolVar(&flags.json, "json", false, "print one JSON object")
	return command
}

// checkOutput is what check prints. What was not measured is null.
type checkOutput struct {
	URL           string         `json:"url"`
	Outcome       uptime.Outcome `json:"outcome"`
	Good          bool           `json:"good"`
	HTTPStatus    *int           `json:"http_status"`
	RegexpMatched *bool          `json:"regexp_matched"`
	Error         string         `json:"error"`
	RemoteIP      *string        `json:"remote_ip"`
	BodyBytes     *int64         `json:"body_bytes"`
	DNSMS         *float64       `json:"dns_ms"`
	ConnectMS     *float64       `json:"connect_ms"`
	TLSMS         *float64       `json:"tls_ms"`
	WaitMS        *float64       `json:"wait_ms"`
	TransferMS    *float64       `json:"transfer_ms"`
	TotalMS       float64        `json:"total_ms"`
}

func (p *program) check(ctx context.Context, rawURL string, flags checkFlags) error {
	policy, err := flags.policy()
	if err != nil {
		return usageError(err)
	}
	normal, err := flags.check(rawURL, policy)
	if err != nil {
		return p.refuse(err, flags.json)
	}

	result := probe.NewProber(probe.Settings{Policy: policy}, p.logger(slog.LevelError)).Probe(ctx, probe.Target{
		Method: http.MethodGet, URL: normal, Regexp: flags.regexp, Timeout: flags.timeout,
		AcceptedStatuses: []string{"200-299"}, MaxRedirects: 10,
	})
	output := newCheckOutput(normal, result)
	if flags.json {
		err = p.printJSON(output)
	} else {
		err = p.printCheck(output)
	}
	if err != nil {
		return err
	}
	if !output.Good {
		return fmt.Errorf("%s is not good: %s", normal, output.Outcome)
	}
	return nil
}

func (f checkFlags) policy() (probe.Policy, error) {
	allow, err := probe.ParseCIDRs(strings.Join(f.allow, ","))
	if err != nil {
		return probe.Policy{}, fmt.Errorf("--allow-cidr: %w", err)
	}
	return probe.Policy{Allow: allow}, nil
}

// check gives the URL in normal form.
func (f checkFlags) check(rawURL string, policy probe.Policy) (string, error) {
	if f.timeout < 100*time.Millisecond || f.timeout > 30*time.Second {
		return "", &probe.InputError{Code: "timeout_range", Message: "--timeout must be 100ms to 30s"}
	}
	if f.regexp != "" {
		if err := probe.CheckRegexp(f.regexp); err != nil {
			return "", err
		}
	}
	return probe.NormalizeURL(rawURL, policy)
}

// refuse says what is wrong with the arguments, with --json as an object as well.
func (p *program) refuse(err error, asJSON bool) error {
	var input *probe.InputError
	if asJSON && errors.As(err, &input) {
		refused := struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}{input.Code, input.Message}
		return usageError(cmp.Or(p.printJSON(refused), err))
	}
	return usageError(err)
}

func newCheckOutput(normalURL string, result probe.Result) checkOutput {
	output := checkOutput{
		URL: normalURL, Outcome: result.Outcome, Good: result.Outcome.Good(), HTTPStatus: result.HTTPStatus,
		RegexpMatched: result.RegexpMatched, Error: result.Error, BodyBytes: result.BodyBytes,
		DNSMS: milliseconds(result.DNS), ConnectMS: milliseconds(result.Connect), TLSMS: milliseconds(result.TLS),
		WaitMS: milliseconds(result.Wait), TransferMS: milliseconds(result.Transfer),
		TotalMS: *milliseconds(&result.Total),
	}
	if result.RemoteIP.IsValid() {
		ip := result.RemoteIP.String()
		output.RemoteIP = &ip
	}
	return output
}

func milliseconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

func (p *program) printJSON(value any) error {
	if err := json.MarshalWrite(p.stdout, value, jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err := fmt.Fprintln(p.stdout)
	return err
}

// printCheck prints a table for people, of what there is.
func (p *program) printCheck(output checkOutput) error {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "url\t%s\noutcome\t%s\n", output.URL, output.Outcome)
	if output.Error != "" {
		fmt.Fprintf(table, "error\t%s\n", output.Error)
	}
	if output.HTTPStatus != nil {
		fmt.Fprintf(table, "http status\t%d\n", *output.HTTPStatus)
	}
	if output.RegexpMatched != nil {
		fmt.Fprintf(table, "regexp matched\t%t\n", *output.RegexpMatched)
	}
	if output.RemoteIP != nil {
		fmt.Fprintf(table, "remote ip\t%s\n", *output.RemoteIP)
	}
	if output.BodyBytes != nil {
		fmt.Fprintf(table, "body\t%d bytes\n", *output.BodyBytes)
	}
	for _, phase := range []struct {
		name string
		ms   *float64
	}{
		{"dns", output.DNSMS},
		{"connect", output.ConnectMS},
		{"tls", output.TLSMS},
		{"wait", output.WaitMS},
		{"transfer", output.TransferMS},
		{"total", &output.TotalMS},
	} {
		if phase.ms != nil {
			fmt.Fprintf(table, "%s\t%.1f ms\n", phase.name, *phase.ms)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
