package httpapi

import (
	"github.com/danielgtaylor/huma/v2"

	"riverwatch/history"
)

// instant is a time in a query.
type instant struct{ history.Instant }

var _ huma.SchemaProvider = instant{}

// Schema implements huma.SchemaProvider.
func (instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "instant", MaxLength: new(64)}
}
