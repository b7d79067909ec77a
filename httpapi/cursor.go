package httpapi

import (
	"encoding/base64"
	"fmt"

	"github.com/go-json-experiment/json"
)

var badCursor = InputError{
	Location: "query.cursor", Code: "cursor_invalid", Message: "must be a next_cursor that this list gave, with the same sort",
}

// encodeCursor gives the place of a row in a list a form that clients pass back as it is.
func encodeCursor(place any) string {
	raw, err := json.Marshal(place)
	if err != nil {
		panic(fmt.Sprintf("encode cursor %T: %v", place, err)) // plain structs of ours
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// decodeCursor reads a place back. An empty cursor leaves it as it is; one of another list is an error, because each
// list's place has a member of its own.
func decodeCursor(cursor string, place any) error {
	if cursor == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return fmt.Errorf("decode cursor: %w", err)
	}
	if err := json.Unmarshal(raw, place, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("decode cursor: %w", err)
	}
	return nil
}

// page is a part of a list.
type page[T any] struct {
	Data       []T     `json:"data" doc:"What is on this page, in order."`
	NextCursor *string `json:"next_cursor" doc:"Asks for the next page; null: this is the last." example:"eyJtb25pdG9yc19ieSI6ImlkIiwiaWQiOjQyfQ"`
}

// pageOf makes a page of limit rows at most; one row more says that there is another page, whose cursor is the place of the
// last row of this one.
func pageOf[R, T any](rows []R, limit int, show func(R) T, place func(last R) any) (p page[T]) {
	if len(rows) > limit {
		rows = rows[:limit]
		cursor := encodeCursor(place(rows[limit-1]))
		p.NextCursor = &cursor
	}
	p.Data = make([]T, len(rows))
	for i, row := range rows {
		p.Data[i] = show(row)
	}
	return p
}
