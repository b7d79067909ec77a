package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"riverwatch/probe"
)

func (p *program) checkCommand() *cobra.Command {
	var flags checkFlags
	command := &cobra.Command{
		Use:   "check URL",
		Short: "Probe a URL once, as a scan would, and print what came of it",
		Long: `Probes a URL once, as a scan would, and prints what came of it: the outcome, the time of each
phase, the redirects, the certificate, and what was expected and found. It needs no database.
The URL begins with one of ` + strings.Join(probe.Schemes(), ", ") + `; the manual is
docs/probe.md. Private and loopback addresses are refused unless --allow-cidr allows them.

Arguments of a process are seen by others on its machine: "-" as a password or token stands for
what is in RIVERWATCH_CHECK_PASSWORD or RIVERWATCH_CHECK_TOKEN.

Exit status: 0 if the outcome is good, 1 if not, 2 if the arguments are wrong.`,
		Example: `  riverwatch check https://example.com
  riverwatch check --regexp 'Example Domain' --timeout 2s --json https://example.com
  riverwatch check -X POST -d '{"ping":1}' -H 'Content-Type: application/json' --json-path '$.ok == true' https://example.com/api
  riverwatch check --basic monitor:- --certificate-days 14 --header-regexp 'Server: ^nginx' https://example.com
  riverwatch check 'dns://9.9.9.9/example.com?type=MX'
  riverwatch check --allow-cidr 127.0.0.0/8 http://127.0.0.1:8080/livez`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(fmt.Errorf("check takes one URL, and got %d: see %s --help", len(args), cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.check(cmd.Context(), args[0], flags) },
	}
	flags.add(command.Flags())
	return command
}

func (p *program) check(ctx context.Context, rawURL string, flags checkFlags) error {
	settings, target, wrong := flags.read(rawURL, p.getenv)
	if len(wrong) > 0 {
		return p.refuse(wrong, flags.json)
	}

	result := probe.NewProber(settings, p.logger(slog.LevelError)).Probe(ctx, target)
	output := newCheckOutput(target.URL, result)
	var err error
	if flags.json {
		err = p.printJSON(output)
	} else {
		err = p.printCheck(output)
	}
	if err != nil {
		return err
	}
	if !output.Good {
		return fmt.Errorf("%s is not good: %s", target.URL, output.Outcome)
	}
	return nil
}

// refuse says what is wrong with the arguments, with --json as an object as well.
func (p *program) refuse(wrong []probe.FieldError, asJSON bool) error {
	refusal := refusal{Code: wrong[0].Code, Message: wrong[0].Message}
	var lines []string
	for _, one := range wrong {
		refusal.Errors = append(refusal.Errors, refusedField{one.Field, one.Code, one.Message})
		lines = append(lines, flagOf(one.Field)+": "+one.Message)
	}
	if asJSON {
		if err := p.printJSON(refusal); err != nil {
			return err
		}
	}
	return usageError(errors.New(strings.Join(lines, "\n")))
}

// refusal is what is printed with --json of arguments that are wrong: the first that is, and all that are.
type refusal struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Errors  []refusedField `json:"errors"`
}

type refusedField struct {
	Field   string `json:"field"` // as the API calls it
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *program) printJSON(value any) error {
	if err := json.MarshalWrite(p.stdout, value, jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err := fmt.Fprintln(p.stdout)
	return err
}
