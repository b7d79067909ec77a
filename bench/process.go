package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A child is a process that bench has started, and that dies with it.
type child struct {
	name   string
	cmd    *exec.Cmd
	said   *lastLines
	ended  chan struct{}
	failed error // set before ended is closed
}

// startChild starts a program. When ctx is done it is asked to stop.
func startChild(ctx context.Context, name string, cmd func(context.Context) *exec.Cmd) (*child, error) {
	c := &child{name: name, cmd: cmd(ctx), said: &lastLines{}, ended: make(chan struct{})}
	c.cmd.Stderr = c.said
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 40 * time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(c.ended)
		c.failed = c.cmd.Wait()
	}()
	return c, nil
}

// runChild runs a program to its end, with input, and gives what it prints.
func runChild(ctx context.Context, name string, input io.Reader, cmd func(context.Context) *exec.Cmd) (string, error) {
	var stdout bytes.Buffer
	c, err := startChild(ctx, name, func(ctx context.Context) *exec.Cmd {
		cmd := cmd(ctx)
		cmd.Stdin, cmd.Stdout = input, &stdout
		return cmd
	})
	if err != nil {
		return "", err
	}
	<-c.ended
	if c.failed != nil {
		return "", fmt.Errorf("%s: %w: %s", name, c.failed, c.said)
	}
	return stdout.String(), nil
}

// alive gives an error if the process has ended, though nobody asked it to.
func (c *child) alive() error {
	select {
	case <-c.ended:
		return fmt.Errorf("%s has ended: %w: %s", c.name, c.failed, c.said)
	default:
		return nil
	}
}

// stop asks the process to stop, and waits until it has.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(c.cmd.WaitDelay):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// self makes the command that runs bench in another part.
func self(args ...string) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		path, err := os.Executable()
		if err != nil {
			path = os.Args[0]
		}
		return exec.CommandContext(ctx, path, args...)
	}
}

// lastLines keeps the end of what a process prints.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

const keptText = 2 << 10

// Write implements io.Writer.
func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-keptText):]
	return len(p), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.text))
}
