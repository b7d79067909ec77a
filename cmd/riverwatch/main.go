// Command riverwatch watches URLs: see riverwatch --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "dev"

func main() {
	err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "riverwatch:", err)
		os.Exit(exitCode(err))
	}
}

// run is the program as a function: it returns when what args ask for is done, or ctx is, or a signal to stop came.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{getenv: getenv, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "riverwatch",
		Short: "Watches URLs, on time, from as many workers as it takes",
		Long: `Riverwatch watches URLs. Create monitors over its REST API; workers scan each one at its
interval and write every result as a row of monitor_log, in a Postgres that is yours.

Settings come from the environment: DATABASE_URL names the database, and is the only one
required. The README lists them all.

On one machine, "riverwatch serve" does everything. On many, run "riverwatch migrate up"
once, "riverwatch api" where clients reach it, and "riverwatch worker" as often as you like:
workers share the scans among them, and no scan is done twice.`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
	})
	root.AddCommand(p.roleCommands()...)
	root.AddCommand(p.migrateCommand(), p.rollUpCommand(), p.reportCommand(), p.generateCommand(), p.checkCommand(), p.healthcheckCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// program is what every command shares.
type program struct {
	getenv         func(string) string
	stdout, stderr io.Writer
}

// exitError is an error with the code to exit with.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

const (
	exitFailed = 1
	exitUsage  = 2
)

func usageError(err error) error { return &exitError{error: err, code: exitUsage} }

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return exitFailed
}
