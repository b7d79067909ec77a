package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	worstMonitors  = 2000             // as many as a worker has places
	worstInterval  = 31 * time.Second // a second more than each takes
	healthyTargets = 100
	// What is promised with the default settings: a budget of bodies, and all else.
	mostBodyMemory  = 64 << 20
	mostOtherMemory = 300 << 20
)

// memoryResult is what a worker takes when all its targets want to use up its memory.
type memoryResult struct {
	Kinds []worstKind `json:"kinds"`
	Most  int64       `json:"promised_bytes"`
}

// A worstKind is a way to use memory up, and what came of it.
type worstKind struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Peak    int64  `json:"worker_peak_memory_bytes"`
	Scans   int    `json:"scans"`
	Healthy int    `json:"healthy_scans"`
	WellOff int    `json:"healthy_scans_ok"`

	Seconds  float64        `json:"seconds"`
	CPU      float64        `json:"worker_cores"`
	Outcomes map[string]int `json:"outcomes"`
}

var worstKinds = []struct {
	name, about string
	paths       []string
}{
	{"bodies", "1 MiB - 1, then silence; a regexp", []string{"body"}},
	{"headers", "64 KiB of tiny lines, or of as many as are read; then silence", []string{"tiny", "long"}},
	{"certificates", "10,000 names, another one each; then the body", []string{"certificate"}},
	{"all of them", "", []string{"body", "tiny", "long", "certificate"}},
}

func runMemory(ctx context.Context, b *bench) (result, error) {
	info, stop, err := startWorst(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	r := memoryResult{Most: mostBodyMemory + mostOtherMemory}
	for _, kind := range worstKinds {
		measured, err := b.measureWorst(ctx, info, kind.paths)
		if err != nil {
			return nil, err
		}
		measured.Name, measured.About = kind.name, kind.about
		r.Kinds = append(r.Kinds, measured)
	}
	return r, nil
}

// startWorst starts the worst target, and waits until it is ready.
func startWorst(ctx context.Context) (info worstInfo, stop func(), err error) {
	read, write := io.Pipe()
	target, err := startChild(ctx, "worst", func(ctx context.Context) *exec.Cmd {
		cmd := self("worst")(ctx)
		cmd.Stdout = write
		return cmd
	})
	if err != nil {
		return info, nil, err
	}
	go func() {
		<-target.ended
		_ = write.Close()
	}()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &info)
	}
	if err != nil {
		err = errors.Join(target.alive(), fmt.Errorf("read where the target is: %w", err))
		target.stop()
		return info, nil, err
	}
	return info, target.stop, nil
}

//go:embed sql/worst.sql
var worstSQL string

// measureWorst lets one worker watch as many of the worst targets as it has places, and some that are well.
func (b *bench) measureWorst(ctx context.Context, info worstInfo, paths []string) (worstKind, error) {
	var m worstKind
	f, err := b.newFleet(ctx)
	if err != nil {
		return m, err
	}
	defer f.close()
	f.options.workers = 1
	create := func(path string, count int, interval time.Duration) error {
		base := fmt.Sprintf("http://%s:%d", targetHost(len(path)), info.Port)
		if path == "certificate" {
			base = fmt.Sprintf("https://%s:%d", targetHost(len(path)), info.TLSPort)
		}
		return f.riverwatch(ctx, "generate-monitors", "--count", strconv.Itoa(count), "--interval", interval.String(),
			"--url", base+"/"+path+"/{n}")
	}
	for _, path := range paths {
		if err := create(path, worstMonitors/len(paths), worstInterval); err != nil {
			return m, err
		}
	}
	if err := create("well", healthyTargets, 10*time.Second); err != nil {
		return m, err
	}
	if _, err := f.conn.Exec(ctx, worstSQL); err != nil {
		return m, fmt.Errorf("make the monitors what a stranger wants: %w", err)
	}
	if err := f.settle(ctx); err != nil {
		return m, err
	}
	if err := f.startWorkers(ctx); err != nil {
		return m, err
	}
	before, err := f.snapshot(ctx)
	if err != nil {
		return m, err
	}
	if err := f.wait(ctx, time.Now().Add(b.duration), "measuring "+strings.Join(paths, ", ")); err != nil {
		return m, err
	}
	after, err := f.snapshot(ctx)
	if err != nil {
		return m, err
	}
	m.Seconds, m.Peak = b.duration.Seconds(), memoryOf(f.workers[0].pid()).peak
	m.CPU = (after.workers - before.workers).Seconds() / m.Seconds
	err = f.countOutcomes(ctx, &m)
	return m, err
}

// countOutcomes says what the log says of the worst targets, and of those that are well.
func (f *fleet) countOutcomes(ctx context.Context, m *worstKind) error {
	rows, err := f.conn.Query(ctx, `
		SELECT url LIKE '%/well/%', outcome, count(*)::integer
		FROM monitor_log JOIN monitors ON monitors.id = monitor_id GROUP BY 1, 2`)
	if err != nil {
		return fmt.Errorf("count outcomes: %w", err)
	}
	m.Outcomes = map[string]int{}
	var (
		well    bool
		outcome string
		count   int
	)
	_, err = pgx.ForEachRow(rows, []any{&well, &outcome, &count}, func() error {
		switch {
		case !well:
			m.Scans += count
			m.Outcomes[outcome] += count
		case outcome == "ok":
			m.WellOff += count
			m.Healthy += count
		default:
			m.Healthy += count
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count outcomes: %w", err)
	}
	return nil
}

func (r memoryResult) tables() []table {
	t := table{header: make([]string, len(r.Kinds))}
	row := func(name string, show func(worstKind) string) {
		values := make([]string, len(r.Kinds))
		for i, kind := range r.Kinds {
			values[i] = show(kind)
		}
		t.add(name, values...)
	}
	for i, kind := range r.Kinds {
		t.header[i] = kind.Name
	}
	row("what each of "+whole(worstMonitors)+" targets sends", func(k worstKind) string { return k.About })
	row("scans of them", func(k worstKind) string { return whole(k.Scans) })
	row("peak memory of the worker", func(k worstKind) string { return mebibytes(k.Peak) })
	row("promised", func(worstKind) string { return mebibytes(r.Most) })
	row("cores used", func(k worstKind) string { return number(k.CPU) })
	row("scans of targets that are well, ok", func(k worstKind) string {
		return whole(k.Healthy) + ", " + whole(k.WellOff)
	})
	return []table{t}
}
