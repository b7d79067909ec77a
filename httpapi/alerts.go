package httpapi

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
)

const listAlertsDoc = "What the people who run this installation must know, newest first: the last 50 alerts. An alert is one " +
	"row however many monitors and workers it is about. It is open until closed_at is set."

const listedAlerts = 50

// alertBody is an alert as the API shows it.
type alertBody struct {
	Kind     string     `json:"kind" doc:"What it is, as a word that never changes. no_sight: a worker cannot see the network. clock_skew: the clocks of a process and of the database differ by more than 2 s." example:"no_sight"`
	Message  string     `json:"message" doc:"What it means, in words." example:"Workers cannot see the network."`
	OpenedAt time.Time  `json:"opened_at" doc:"Since when." example:"2026-11-24T10:00:00Z"`
	SeenAt   time.Time  `json:"seen_at" doc:"When it was last known to be so." example:"2026-11-24T10:05:00Z"`
	ClosedAt *time.Time `json:"closed_at" doc:"Until when; null while it is so." example:"2026-11-24T10:05:10Z"`
	Workers  []string   `json:"workers" doc:"All processes that it was about." example:"[\"pod-7f9c-x1k2\"]"`
	Open     []string   `json:"open_workers" doc:"Those that it is about still." example:"[]"`
}

func newAlertBody(alert db.OperatorAlert) alertBody {
	body := alertBody{
		Kind: alert.Kind, Message: alert.Message, OpenedAt: alert.OpenedAt.UTC(), SeenAt: alert.SeenAt.UTC(),
		Workers: alert.Workers, Open: alert.OpenWorkers,
	}
	if alert.ClosedAt != nil {
		closedAt := alert.ClosedAt.UTC()
		body.ClosedAt = &closedAt
	}
	return body
}

type listAlertsOutput struct {
	Body struct {
		Data []alertBody `json:"data" doc:"The alerts, newest first."`
	}
}

func (a *api) listAlerts(ctx context.Context, _ *struct{}) (*listAlertsOutput, error) {
	alerts, err := db.New(a.Pool).ListAlerts(ctx, listedAlerts)
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	out := &listAlertsOutput{}
	out.Body.Data = make([]alertBody, len(alerts))
	for i, alert := range alerts {
		out.Body.Data[i] = newAlertBody(alert)
	}
	return out, nil
}
