package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/uptime"
)

const (
	getSummaryDoc = "All monitors at a glance: how many stand where, how many scans a second are promised and how many are made, the " +
		"slowest of the last hour that is rolled up, and those that were down for longest in the last 24 hours. It may be 2 seconds old."

	summaryKept = 2 * time.Second
	// Scans of so long count as those of now; those that are due just now are not in the log yet.
	scansOf       = 20 * time.Second
	scansLate     = 5 * time.Second
	listedSlowest = 10
	mostOftenDown = 100 // that are looked at, to find those that were down for longest
)

// summaryBody is all monitors at a glance.
type summaryBody struct {
	At                     time.Time             `json:"at" doc:"When this was so." example:"2026-11-24T10:00:00Z"`
	Monitors               int                   `json:"monitors" doc:"How many there are." example:"1200"`
	ByStatus               map[uptime.Status]int `json:"by_status" doc:"How many stand where; every status is there." example:"{\"up\": 1190, \"down\": 10}"`
	PromisedScansPerSecond float64               `json:"promised_scans_per_second" doc:"How many scans a second are promised." example:"20"`
	ScansPerSecond         float64               `json:"scans_per_second" doc:"How many were made, of the slots of 20 seconds." example:"20"`
	Slowest                []slowBody            `json:"slowest" doc:"The 10 whose good scans took longest in the mean, in the last hour that is rolled up."`
	MostDown               []downBody            `json:"most_down" doc:"The 10 that were down for longest in the last 24 hours."`
}

type slowBody struct {
	ID    int64   `json:"id" doc:"The monitor's number." example:"42"`
	Name  string  `json:"name" doc:"Its name." example:"Shop"`
	URL   string  `json:"url" doc:"What is watched." example:"https://example.com/"`
	AvgMS float64 `json:"avg_ms" doc:"The mean." example:"900.4"`
}

type downBody struct {
	ID          int64    `json:"id" doc:"The monitor's number." example:"42"`
	Name        string   `json:"name" doc:"Its name." example:"Shop"`
	URL         string   `json:"url" doc:"What is watched." example:"https://example.com/"`
	DownSeconds float64  `json:"down_seconds" doc:"For how long it was down." example:"3600"`
	Ratio       *float64 `json:"ratio" doc:"The ratio of the 24 hours, as at /uptime." example:"0.958"`
}

type getSummaryOutput struct{ Body summaryBody }

// summaries keeps the last summary. Those who ask while it is made wait for it.
type summaries struct {
	mu   sync.Mutex
	last summaryBody
}

func (a *api) getSummary(ctx context.Context, _ *struct{}) (*getSummaryOutput, error) {
	a.summaries.mu.Lock()
	defer a.summaries.mu.Unlock()
	now := a.Now().UTC()
	if age := now.Sub(a.summaries.last.At); age < 0 || age >= summaryKept {
		summary, err := a.summarize(ctx, now)
		if err != nil {
			return nil, err
		}
		a.summaries.last = summary
	}
	return &getSummaryOutput{a.summaries.last}, nil
}

func (a *api) summarize(ctx context.Context, now time.Time) (s summaryBody, err error) {
	queries := db.New(db.PlanEach(a.Pool))
	s = summaryBody{At: now, ByStatus: map[uptime.Status]int{}, Slowest: []slowBody{}}
	for _, status := range uptime.Statuses() {
		s.ByStatus[status] = 0
	}
	counts, err := queries.CountStatuses(ctx)
	if err != nil {
		return s, fmt.Errorf("count statuses: %w", err)
	}
	for _, count := range counts {
		s.ByStatus[count.Status] = count.Monitors
		s.Monitors += count.Monitors
	}
	if s.PromisedScansPerSecond, err = queries.SumPromises(ctx); err != nil {
		return s, fmt.Errorf("sum up promises: %w", err)
	}
	until := now.Add(-scansLate)
	scans, err := queries.CountScans(ctx, db.CountScansParams{Since: until.Add(-scansOf), Until: until})
	if err != nil {
		return s, fmt.Errorf("count scans: %w", err)
	}
	s.ScansPerSecond = float64(scans) / scansOf.Seconds()
	if s.Slowest, err = slowest(ctx, queries); err != nil {
		return s, err
	}
	s.MostDown, err = a.mostDown(ctx, queries, now)
	return s, err
}

func slowest(ctx context.Context, queries *db.Queries) ([]slowBody, error) {
	progress, err := queries.GetHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return []slowBody{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get how far roll-ups have come: %w", err)
	}
	rows, err := queries.ListSlowest(ctx, db.ListSlowestParams{Hour: progress.RolledUntil.Add(-time.Hour), PageSize: listedSlowest})
	if err != nil {
		return nil, fmt.Errorf("list the slowest: %w", err)
	}
	slow := make([]slowBody, len(rows))
	for i, row := range rows {
		slow[i] = slowBody{ID: row.ID, Name: row.Name, URL: row.URL, AvgMS: float64(row.MeanUS) / 1000}
	}
	return slow, nil
}

func (a *api) mostDown(ctx context.Context, queries *db.Queries, now time.Time) ([]downBody, error) {
	since := now.Add(-24 * time.Hour)
	rows, err := queries.ListOftenDown(ctx, db.ListOftenDownParams{Since: since, AtMost: mostOftenDown})
	if err != nil {
		return nil, fmt.Errorf("list who was down: %w", err)
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	uptimes, err := history.Uptimes(ctx, a.Pool, since, now, ids...)
	if err != nil {
		return nil, fmt.Errorf("count for how long: %w", err)
	}
	down := []downBody{}
	for _, row := range rows {
		count := uptime.CountOf(uptimes[row.ID])
		if count.Down == 0 {
			continue // it was taken back, or stood so before it was paused
		}
		body := downBody{ID: row.ID, Name: row.Name, URL: row.URL, DownSeconds: count.Down.Seconds()}
		if ratio, ok := count.Ratio(); ok {
			body.Ratio = &ratio
		}
		down = append(down, body)
	}
	slices.SortStableFunc(down, func(a, b downBody) int { return cmp.Compare(b.DownSeconds, a.DownSeconds) })
	return down[:min(len(down), listedSlowest)], nil
}
