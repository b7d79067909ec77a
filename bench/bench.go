package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A bench is what all measurements share: the database server, the target and a folder.
type bench struct {
	options

	program  string // riverwatch
	dir      string
	progress *progress

	serverURL  string
	server     *pgx.Conn
	postmaster int // the server's first process
	databases  int // that were made

	target *child
	info   targetInfo
	caFile string // empty: no TLS
}

func newBench(ctx context.Context, o options, getenv func(string) string, stderr io.Writer) (_ *bench, err error) {
	b := &bench{options: o, progress: newProgress(stderr)}
	b.serverURL = cmp.Or(getenv("TEST_DATABASE_URL"), getenv("DATABASE_URL"))
	if b.serverURL == "" {
		return nil, errors.New("TEST_DATABASE_URL or DATABASE_URL: is required: start this by `make bench`")
	}
	if b.program, err = exec.LookPath(o.riverwatch); err != nil {
		return nil, fmt.Errorf("--riverwatch: %w", err)
	}
	if b.program, err = filepath.Abs(b.program); err != nil {
		return nil, fmt.Errorf("--riverwatch: %w", err)
	}
	if b.dir, err = os.MkdirTemp("", "riverwatch-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.server, err = pgx.Connect(ctx, b.serverURL); err != nil {
		return nil, fmt.Errorf("connect to the database server: %w", err)
	}
	// Tests' servers go without these for speed: a measurement of a database that may lose what it was told would flatter.
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if _, err := b.server.Exec(ctx, "ALTER SYSTEM SET "+setting+" = on"); err != nil {
			return nil, fmt.Errorf("set %s: %w", setting, err)
		}
	}
	if _, err := b.server.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return nil, fmt.Errorf("reload the server's settings: %w", err)
	}
	backend, err := readStat(int(b.server.PgConn().PID()))
	if err != nil {
		return nil, fmt.Errorf("find the database server on this machine: %w", err)
	}
	b.postmaster = backend.parent
	if err := b.startTarget(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	if b.target != nil {
		b.target.stop()
	}
	if b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.server.Close(ctx)
	}
	_ = os.RemoveAll(b.dir)
}

// startTarget starts the target, and waits until it is ready.
func (b *bench) startTarget(ctx context.Context) error {
	args := []string{"target", "--seed", strconv.FormatUint(b.seed, 10)}
	if b.tls {
		b.caFile = filepath.Join(b.dir, "ca.pem")
		args = append(args, "--ca", b.caFile)
	}
	read, write := io.Pipe()
	var err error
	b.target, err = startChild(ctx, "target", func(ctx context.Context) *exec.Cmd {
		cmd := self(args...)(ctx)
		cmd.Stdout = write
		return cmd
	})
	if err != nil {
		return err
	}
	go func() {
		<-b.target.ended
		_ = write.Close()
	}()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		return errors.Join(b.target.alive(), err)
	}
	if err := json.Unmarshal(line, &b.info); err != nil {
		return fmt.Errorf("read where the target is: %w", err)
	}
	return nil
}

// requests gives how many requests are in the target's ledger.
func (b *bench) requests(ctx context.Context) (int, error) {
	var text strings.Builder
	err := b.control(ctx, http.MethodGet, func(body io.Reader) error {
		_, err := io.Copy(&text, body)
		return err //nolint:wrapcheck // control's
	})
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text.String()) //nolint:wrapcheck // our own target
}

// takeLedger gives the target's ledger, which is empty after that.
func (b *bench) takeLedger(ctx context.Context) (l ledger, err error) {
	err = b.control(ctx, http.MethodPost, func(body io.Reader) error { return gob.NewDecoder(body).Decode(&l) })
	return l, err
}

func (b *bench) control(ctx context.Context, method string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+b.info.Control+"/", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the target: %w", err)
	}
	answer, err := new(http.Client).Do(request)
	if err != nil {
		return fmt.Errorf("ask the target: %w", errors.Join(b.target.alive(), err))
	}
	defer func() { _ = answer.Body.Close() }()
	if err := read(answer.Body); err != nil {
		return fmt.Errorf("read the target's answer: %w", err)
	}
	return nil
}
