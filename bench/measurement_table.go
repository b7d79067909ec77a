package main

import (
	"fmt"
	"strings"
)

// The rows beside which others put theirs.
const (
	rowAchieved      = "scans/s recorded in time"
	rowCoverage      = "coverage: slots with a scan in time"
	rowLatency       = "latency of a probe, ms: p50, p99, max"
	rowTargetCPU     = "target: CPU us a scan"
	rowSystemCPU     = "workers and Postgres: CPU us a scan"
	rowWorkersMemory = "workers: peak memory"
)

// measurementTable shows measurements side by side.
func measurementTable(all ...measurement) table {
	var t table
	row := func(name string, show func(measurement) string) {
		values := make([]string, len(all))
		for i, m := range all {
			values[i] = show(m)
		}
		t.add(name, values...)
	}
	for _, m := range all {
		t.header = append(t.header, m.Name)
	}
	row("monitors", func(m measurement) string { return whole(m.Monitors) })
	row("workers, targets", func(m measurement) string {
		if m.TLS {
			return fmt.Sprintf("%d, TLS", m.Workers)
		}
		return fmt.Sprintf("%d, plain HTTP", m.Workers)
	})
	row("scans/s demanded", func(m measurement) string { return number(m.Demanded) })
	row(rowAchieved, func(m measurement) string { return number(m.Achieved) })
	row("slots due", func(m measurement) string { return whole(m.Due) })
	row(rowCoverage, func(m measurement) string { return percent(m.Coverage) })
	row("slots declared as gaps, unaccounted for", func(m measurement) string {
		return fmt.Sprintf("%s, %s", whole(m.declared()), whole(m.Unaccounted))
	})
	row("scans that blame a target that is well, inconclusive", func(m measurement) string {
		return fmt.Sprintf("%s, %s", whole(m.Blamed), whole(m.Inconclusive))
	})
	row("good scans ended a second", func(m measurement) string { return number(m.Goodput) })
	row("requests to the target for these slots, beyond one", func(m measurement) string {
		return fmt.Sprintf("%s, %s", whole(m.Seen.Requests), whole(m.Seen.Twice))
	})
	row("most requests in a second", func(m measurement) string { return whole(m.Seen.Busiest) })
	row("lateness in the log, ms: p50, p99, max", func(m measurement) string { return m.Lateness.String() })
	row("… of the first half, of the second: p50, p99", func(m measurement) string {
		first, second := m.LatenessHalves[0], m.LatenessHalves[1]
		return fmt.Sprintf("%s, %s; %s, %s", number(first.P50), number(first.P99), number(second.P50), number(second.P99))
	})
	row("lateness at the target, ms: p50, p99, max", func(m measurement) string { return m.Seen.Lateness.String() })
	row(rowLatency, func(m measurement) string { return m.Latency.String() })
	row("workers: CPU us a scan", func(m measurement) string { return number(m.WorkersCPU) })
	row("Postgres: CPU us a scan", func(m measurement) string { return number(m.PostgresCPU) })
	row(rowSystemCPU, func(m measurement) string { return number(m.SystemCPU) })
	row(rowTargetCPU, func(m measurement) string { return number(m.TargetCPU) })
	row("WAL bytes a scan", func(m measurement) string { return number(m.WAL) })
	row("bytes a row, with indexes", func(m measurement) string { return number(m.RowBytes) })
	row(rowWorkersMemory, func(m measurement) string {
		sizes := make([]string, len(m.WorkerMemory))
		for i, size := range m.WorkerMemory {
			sizes[i] = mebibytes(size)
		}
		return strings.Join(sizes, ", ")
	})
	row("largest process of Postgres: peak memory", func(m measurement) string { return mebibytes(m.PostgresMemory) })
	return t
}

func (p percentiles) String() string {
	return fmt.Sprintf("%s, %s, %s", number(p.P50), number(p.P99), number(p.Max))
}

// percent shows a fraction. Only what is all is 100 %.
func percent(fraction float64) string {
	if fraction == 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.3f %%", float64(int(fraction*1e5))/1e3)
}
