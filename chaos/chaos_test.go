//go:build linux

package chaos_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A fault is one thing that goes wrong, with how it is measured.
type fault struct {
	id     string // of the list of faults in issue 9
	name   string
	short  bool // takes under 20 s, in a short run
	setup  setup
	inject func(t *testing.T, w *world)
}

// Faults wait more than they compute, and each has its own world.
func TestMain(m *testing.M) {
	flag.Parse()
	parallel := "10"
	if *longRun {
		parallel = "5"
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	m.Run()
	if dir, err := buildDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

func TestChaos(t *testing.T) { //nolint:tparallel // beside sees to that
	t.Parallel()
	together := slices.DeleteFunc(faults(), func(f fault) bool { return *longRun && f.setup.alone })
	eachFault(t, together, beside(runFault))
}

// beside runs a fault beside others.
func beside(run func(t *testing.T, f fault, seed uint64)) func(t *testing.T, f fault, seed uint64) {
	return func(t *testing.T, f fault, seed uint64) {
		t.Helper()
		t.Parallel()
		run(t, f, seed)
	}
}

// One fault after the other, before all that run in parallel.
func TestChaosAlone(t *testing.T) { //nolint:paralleltest // that is what it is for
	if !*longRun {
		return // they run with the others
	}
	alone := slices.DeleteFunc(faults(), func(f fault) bool { return !f.setup.alone })
	eachFault(t, alone, runFault)
}

// eachFault runs those faults that are wanted, each with each seed.
func eachFault(t *testing.T, faults []fault, run func(t *testing.T, f fault, seed uint64)) {
	t.Helper()
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000
	}
	for round := range uint64(*rounds) {
		for _, f := range faults {
			if !wanted(f) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%d", f.id, f.name, first+round), func(t *testing.T) {
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("run it again: make chaos SEED=%d FAULT=%s", first+round, f.id)
					}
				})
				run(t, f, first+round)
			})
		}
	}
}

// faults lists those of whole worlds; insideFaults has the others.
func faults() []fault {
	return slices.Concat(processFaults(), databaseFaults(), serverFaults(), networkFaults(), resourceFaults(), changeFaults(), manyFaults(), overloadFaults(), backupFaults())
}

func wanted(f fault) bool {
	if *faultFlag != "" {
		return slices.Contains(strings.Split(*faultFlag, ","), f.id)
	}
	return *longRun || f.short
}

// runFault builds a world, breaks it, waits until it is whole again, and checks it.
func runFault(t *testing.T, f fault, seed uint64) {
	t.Helper()
	w := newWorld(t, f.setup, rand.New(rand.NewPCG(seed, 0)))
	t.Cleanup(func() { w.keep(t) })
	w.began = time.Now()
	f.inject(t, w)
	w.heal(t)
	w.stop(t)
	if f.setup.check != nil {
		f.setup.check(t, w)
		return
	}
	w.check(t)
}

// full gives how long or how much of something there is: in the long run as much as the list of faults has.
func full[T any](short, long T) T {
	if *longRun {
		return long
	}
	return short
}
