package httpapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/uptime"
)

// pastBody is what a list shows of a monitor's past.
type pastBody struct {
	Slots    []slotBody `json:"slots,omitzero" doc:"What came of its last 60 slots, oldest first. With include=bars."`
	LastScan *slotBody  `json:"last_scan,omitzero" doc:"The newest of these that was scanned, if one was. With include=bars."`

	Uptime24h *float64 `json:"uptime_24h,omitzero" doc:"The ratio of the last 24 hours, from 0 to 1, as at /uptime, if anything is known. With include=uptime." example:"0.9993"`
	Uptime7d  *float64 `json:"uptime_7d,omitzero" doc:"The ratio of the last 7 days. With include=uptime." example:"0.9991"`
	Uptime30d *float64 `json:"uptime_30d,omitzero" doc:"The ratio of the last 30 days. With include=uptime." example:"0.9998"`

	P50MS24h *float64 `json:"p50_ms_24h,omitzero" doc:"Half of the good scans took no longer: of the hours of the last day that are rolled up, or, before there is one, of the log; within 4.5 %. With include=latency." example:"81.1"`
	P95MS24h *float64 `json:"p95_ms_24h,omitzero" doc:"95 % took no longer. With include=latency." example:"120.7"`
}

// slotBody is what came of a slot.
type slotBody struct {
	At     time.Time        `json:"at" doc:"The slot." example:"2026-11-24T10:00:00Z"`
	Came   history.Came     `json:"came" enum:"good,slow,failed,inconclusive,gap,pending,none" doc:"What came of it: a scan, by what its outcome counts as; gap: it was missed; pending: nothing yet; none: it was not promised." example:"good"`
	MS     *float64         `json:"ms,omitzero" doc:"How long the scan took." example:"83.4"`
	Reason uptime.GapReason `json:"reason,omitzero" doc:"Why it was missed." example:"overloaded"`
}

func newSlotBody(slot history.Slot) slotBody {
	body := slotBody{At: slot.At.UTC(), Came: slot.Came, Reason: slot.Reason}
	if slot.Scanned() {
		body.MS = milliseconds(&slot.TotalUS)
	}
	return body
}

// addPasts adds what a list is asked to include of the past of its monitors.
func (a *api) addPasts(ctx context.Context, include []string, rows []db.ListMonitorsByIDRow, bodies []monitorBody) error {
	parts := history.Parts{
		Slots: slices.Contains(include, "bars"), Uptime: slices.Contains(include, "uptime"), Latency: slices.Contains(include, "latency"),
	}
	if parts == (history.Parts{}) || len(rows) == 0 {
		return nil
	}
	monitors := make([]db.Monitor, len(rows))
	for i, row := range rows {
		monitors[i] = row.Monitor
	}
	glances, err := history.Glances(ctx, a.Pool, a.Now(), parts, monitors...)
	if err != nil {
		return fmt.Errorf("read the past of monitors: %w", err)
	}
	for i, glance := range glances {
		bodies[i].Past = newPastBody(glance)
	}
	return nil
}

func newPastBody(glance history.Glance) *pastBody {
	past := &pastBody{}
	for _, slot := range glance.Slots {
		body := newSlotBody(slot)
		past.Slots = append(past.Slots, body)
		if slot.Scanned() {
			past.LastScan = &body
		}
	}
	for _, of := range []struct {
		to   **float64
		from uptime.Count
	}{{&past.Uptime24h, glance.Day}, {&past.Uptime7d, glance.Week}, {&past.Uptime30d, glance.Month}} {
		if ratio, ok := of.from.Ratio(); ok {
			*of.to = &ratio
		}
	}
	past.P50MS24h, past.P95MS24h = percentileMS(glance.Latency, 0.5), percentileMS(glance.Latency, 0.95)
	return past
}

// percentileMS gives a percentile in milliseconds; nil: there are no scans.
func percentileMS(h history.Histogram, p float64) *float64 {
	took, ok := h.Percentile(p)
	if !ok {
		return nil
	}
	return new(float64(took.Microseconds()) / 1000)
}
