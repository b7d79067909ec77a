package db

import (
	"time"

	"riverwatch/uptime"
)

// What belongs to a row, and what the rules of package uptime ask of it.

// Schedule gives the slots at which the monitor is scanned.
func (m Monitor) Schedule() uptime.Schedule {
	return uptime.Schedule{Interval: m.IntervalSeconds, PhaseMS: m.PhaseMS}
}

// Thresholds give how many scans in a row it takes to change the monitor's status.
func (m Monitor) Thresholds() uptime.Thresholds {
	return uptime.Thresholds{Failure: m.FailureThreshold, Success: m.SuccessThreshold}
}

// Configuration gives what the monitor is scanned by.
func (m Monitor) Configuration() uptime.Configuration {
	return uptime.Configuration{
		Version: m.Version, Since: m.UpdatedAt, Interval: time.Duration(m.IntervalSeconds) * time.Second,
	}
}

// Active reports whether the monitor is scanned.
func (m Monitor) Active() bool { return m.PausedAt == nil && m.DeletedAt == nil }

// Schedule gives the slots that were promised.
func (s MonitorSchedule) Schedule() uptime.Schedule {
	return uptime.Schedule{Interval: s.IntervalSeconds, PhaseMS: s.PhaseMS}
}

// State gives where the monitor stands.
func (s MonitorState) State() uptime.State {
	return uptime.State{
		Status: s.Status, Since: s.Since, JudgedSlot: s.JudgedSlot, Failures: s.Failures, Successes: s.Successes,
	}
}

// EndedAt gives the instant at which a scan of the log had ended.
func EndedAt(slot time.Time, lateMS, totalUS int) time.Time {
	return slot.Add(time.Duration(lateMS)*time.Millisecond + time.Duration(totalUS)*time.Microsecond)
}

// Phase is how long a part of a probe took, in microseconds; nil: it was not measured.
type Phase struct {
	Name string
	US   *int
}

// Phases gives the parts of the scan's probe, and their total last.
func (s *Scan) Phases() [6]Phase {
	return [...]Phase{
		{"dns", s.DNSUS},
		{"connect", s.ConnectUS},
		{"tls", s.TLSUS},
		{"wait", s.WaitUS},
		{"transfer", s.TransferUS},
		{"total", &s.TotalUS},
	}
}
