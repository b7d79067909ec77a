package uptime

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// A Schedule is a monitor's rhythm: its slots are the instants t with t ≡ Phase (mod Interval), in whole seconds of Unix
// time. A slot is a promise: one scan, recorded once, or a declared gap.
type Schedule struct {
	Interval int // seconds, above 0
	Phase    int // seconds, from 0 until before Interval
}

// ScheduleOf gives the monitor with this id its schedule. The phase is a hash of the id, so that the monitors of one
// interval spread evenly over it. Phases are stored: the hash is never changed.
func ScheduleOf(monitorID int64, interval int) Schedule {
	hash := fnv.New64a()
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(monitorID))                                  //nolint:gosec // only the bits matter
	_, _ = hash.Write(id[:])                                                              // never fails
	return Schedule{Interval: interval, Phase: int(mix(hash.Sum64()) % uint64(interval))} //nolint:gosec // under interval
}

// mix spreads what FNV leaves close together for small ids (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// SlotAt gives the present slot: the last one at or before t.
func (s Schedule) SlotAt(t time.Time) time.Time {
	second := t.Unix()
	interval := int64(s.Interval)
	since := ((second-int64(s.Phase))%interval + interval) % interval
	return time.Unix(second-since, 0).UTC()
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
