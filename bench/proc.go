package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU time in /proc/PID/stat (USER_HZ, which is 100 wherever Linux runs).
const clockTick = 10 * time.Millisecond

// A processStat is what /proc/PID/stat says of a process.
type processStat struct {
	pid, parent int
	cpu         time.Duration // its own
	buried      time.Duration // of its children that have ended
}

// parseStat reads the text of /proc/PID/stat. The name, in brackets, may hold anything.
func parseStat(text string) (stat processStat, err error) {
	before, after, ok := strings.Cut(text, " (")
	end := strings.LastIndexByte(after, ')')
	fields := strings.Fields(after[end+1:])
	if !ok || end < 0 || len(fields) < 15 {
		return stat, fmt.Errorf("%q is no stat of a process", text)
	}
	var numbers [6]int // pid, parent, utime, stime, cutime, cstime
	for i, field := range []string{before, fields[1], fields[11], fields[12], fields[13], fields[14]} {
		if numbers[i], err = strconv.Atoi(field); err != nil {
			return stat, fmt.Errorf("%q is no stat of a process: %w", text, err)
		}
	}
	return processStat{
		pid: numbers[0], parent: numbers[1],
		cpu:    time.Duration(numbers[2]+numbers[3]) * clockTick,
		buried: time.Duration(numbers[4]+numbers[5]) * clockTick,
	}, nil
}

func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return processStat{}, fmt.Errorf("read the stat of process %d: %w", pid, err)
	}
	return parseStat(string(text))
}

// cpuOf gives the CPU time that a process has used.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := readStat(pid)
	return stat.cpu, err
}

// family gives a process and its children, such as a database server.
func family(root int) (stats []processStat, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		stat, err := parseStat(string(text))
		if err == nil && (stat.pid == root || stat.parent == root) {
			stats = append(stats, stat)
		}
	}
	return stats, nil
}

// ownCPU gives the CPU time that this process has used.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// memoryLine finds "VmHWM:   1234 kB", the most that was resident, and VmRSS, what is.
var memoryLine = regexp.MustCompile(`(?m)^(VmHWM|VmRSS):\s*(\d+) kB$`)

// memory is in bytes.
type memory struct{ peak, resident int64 }

func parseMemory(status string) (m memory) {
	for _, match := range memoryLine.FindAllStringSubmatch(status, -1) {
		kilobytes, _ := strconv.ParseInt(match[2], 10, 64)
		if match[1] == "VmHWM" {
			m.peak = kilobytes << 10
		} else {
			m.resident = kilobytes << 10
		}
	}
	return m
}

// memoryOf gives the memory of a process; of one that has ended, none.
func memoryOf(pid int) memory {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return memory{}
	}
	return parseMemory(string(text))
}

// machine is where the measurement was made.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Load   string `json:"load"` // averages of 1, 5 and 15 minutes, before anything ran
}

var modelLine = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

func thisMachine() machine {
	cpu := runtime.GOARCH
	text, _ := os.ReadFile("/proc/cpuinfo")
	if match := modelLine.FindStringSubmatch(string(text)); match != nil {
		cpu = match[1]
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	return machine{
		CPU: cpu, Cores: runtime.NumCPU(), Kernel: strings.TrimSpace(string(kernel)), Go: runtime.Version(),
		Load: strings.Join(append(strings.Fields(string(load)), "", "", "")[:3], " "),
	}
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores of %s, Linux %s, %s; load before: %s", m.Cores, m.CPU, m.Kernel, m.Go, m.Load)
}
