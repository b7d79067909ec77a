package httpapi

import (
	"context"
	"fmt"

	"riverwatch/db"
)

const (
	livezDoc  = "Answers as long as the process serves at all. It asks nothing of the database: restarting us mends no database."
	readyzDoc = "Answers 200 if the database is reachable and its schema is the one that this program needs, else 503."
)

type healthOutput struct{ Body healthBody }

type healthBody struct {
	Status string `json:"status" doc:"ok, always: what is not ok is a problem." example:"ok"`
}

func (a *api) livez(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{Body: healthBody{Status: "ok"}}, nil
}

func (a *api) readyz(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	versions, err := db.SchemaVersions(ctx, a.Pool)
	if err != nil {
		return nil, err
	}
	if !versions.Current() {
		return nil, schemaOutdated(fmt.Sprintf(
			"The database's schema is at version %d, and must be at %d: run riverwatch migrate up.",
			versions.Riverwatch, versions.RiverwatchWanted))
	}
	return &healthOutput{Body: healthBody{Status: "ok"}}, nil
}
