package uptime

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Slots lie on quarters of a second: a machine that has many monitors cannot start all scans of a second at its
// beginning, and those that wait are late.
const (
	slotsPerSecond = 4
	slotGrain      = time.Second / slotsPerSecond
)

// A Schedule is a monitor's rhythm: its slots are the instants t with t ≡ PhaseMS (mod 1000 × Interval), in milliseconds
// of Unix time.
// A slot is a promise: one scan, recorded once, or a declared gap.
type Schedule struct {
	Interval int // seconds, above 0
	PhaseMS  int // milliseconds, a multiple of 250, from 0 until before Interval
}

// ScheduleOf gives the monitor with this id its schedule. The phase is a hash of the id, so that the monitors of one
// interval spread evenly over it. Phases are stored: the hash is never changed.
func ScheduleOf(monitorID int64, interval int) Schedule {
	hash := fnv.New64a()
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(monitorID)) //nolint:gosec // only the bits matter
	_, _ = hash.Write(id[:])                             // never fails
	seconds := uint64(interval)                          //nolint:gosec // above 0
	h := mix(hash.Sum64())
	phaseMS := h%seconds*1000 + h/seconds%slotsPerSecond*(1000/slotsPerSecond)
	return Schedule{Interval: interval, PhaseMS: int(phaseMS)} //nolint:gosec // below 1000 × interval
}

// Phases gives how many phases schedules of this interval have.
func (s Schedule) Phases() int { return s.Interval * slotsPerSecond }

// mix spreads what FNV leaves close together for small ids (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// IsSlotTime reports whether a slot of any schedule can lie at t.
func IsSlotTime(t time.Time) bool { return t.UnixNano()%int64(slotGrain) == 0 }

// BetweenSlots gives an instant at most 1 µs later, of the database's precision, at which no schedule has a slot.
func BetweenSlots(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	if IsSlotTime(t) {
		t = t.Add(time.Microsecond)
	}
	return t
}

// SlotAt gives the present slot: the last one at or before t.
func (s Schedule) SlotAt(t time.Time) time.Time {
	at, interval := t.UnixNano(), int64(s.duration())
	since := (at - int64(s.PhaseMS)*int64(time.Millisecond)) % interval
	if since < 0 {
		since += interval
	}
	return time.Unix(0, at-since).UTC()
}

// SlotAfter gives the first slot strictly after t.
func (s Schedule) SlotAfter(t time.Time) time.Time { return s.Next(s.SlotAt(t)) }

// Next gives the slot that follows a slot.
func (s Schedule) Next(slot time.Time) time.Time { return slot.Add(s.duration()) }

// Previous gives the slot before a slot.
func (s Schedule) Previous(slot time.Time) time.Time { return slot.Add(-s.duration()) }

func (s Schedule) duration() time.Duration { return time.Duration(s.Interval) * time.Second }

// Close gives the instant until before which a schedule, dropped at t, stays promised. A slot that has not started by
// then is no longer promised, so it is the present slot if that one is not recorded, and t if it is: or, where t is the
// very instant of the slot, a moment later, for what was recorded was promised.
func (s Schedule) Close(t time.Time, presentRecorded bool) time.Time {
	slot := s.SlotAt(t)
	switch {
	case !presentRecorded:
		return slot
	case t.Equal(slot):
		return slot.Add(time.Microsecond) // the database's precision
	}
	return t
}
