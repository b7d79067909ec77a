package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/probe"
)

// Whoever adds a field forgets one of its places: the list of what it is of a monitor, a column of a query, what is
// compared when something changes. So each property that a PATCH takes is changed to its example and back, and created
// with it: the version, what is shown and the stored row must follow.
func TestEveryField(t *testing.T) {
	t.Parallel()
	a := newTestAPIOn(t, dbtest.New(t))
	certificate, key := newKeyPair(t)

	// What an example cannot be.
	examples := map[string]any{
		"ca_pem": certificate, "client_certificate_pem": certificate, "client_key_pem": key,
	}
	// What a field cannot be without.
	companions := map[string]map[string]any{
		"body": {"method": "POST"}, "basic_password": {"basic_username": "me"}, "regexp_invert": {"regexp": "down"},
	}
	// What comes and goes with it.
	together := map[string]map[string]any{
		"client_certificate_pem": {"client_key_pem": key}, "client_key_pem": {"client_certificate_pem": certificate},
	}
	// What is shown in place of a secret.
	shownAs := map[string]string{
		"basic_password": "basic_password_set", "bearer_token": "bearer_token_set", "client_key_pem": "client_key_set",
	}

	properties := a.properties("MonitorPatch")
	require.Greater(t, len(properties), 30)
	created, shown := a.properties("MonitorCreate"), a.properties("MonitorBody")
	require.ElementsMatch(t, slices.Collect(maps.Keys(created)), slices.Collect(maps.Keys(properties)))
	for field, property := range properties {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			a := &testAPI{t: t, pool: a.pool, handler: a.handler, log: a.log}
			value, ok := examples[field]
			if !ok {
				require.Len(t, property.Examples, 1)
				value = property.Examples[0]
			}
			name := field
			if as, ok := shownAs[field]; ok {
				name = as
			}
			require.Contains(t, shown, name)

			base := map[string]any{"url": "https://example.com/" + field}
			maps.Copy(base, companions[field])
			before := a.create(encoded(t, base))
			path := fmt.Sprintf("%s/%d", monitorsPath, before.ID)
			was, wasStored := a.fields(path), a.storedRow(before.ID)
			require.Equal(t, was[name] == nil, slices.Contains(shown[name].Type, "null"), "whether it may be null")
			if field != "url" {
				require.NotEqual(t, value, was[field], "its example is its default, and so no change")
				requireDefault(t, property.Description, was[name])
			}

			given := map[string]any{field: value}
			maps.Copy(given, together[field])
			changed := a.patch(path, encoded(t, given))
			require.Equal(t, http.StatusOK, changed.status, changed.raw)
			require.Equal(t, before.Version+1, changed.monitor().Version, "a change that nothing notices")
			is, isStored := a.fields(path), a.storedRow(before.ID)
			require.Equal(t, fieldsOf(changed), is)
			requireShows(t, name, value, is)
			require.NotEqual(t, wasStored, isStored)

			if field == "url" {
				require.Equal(t, "field_required", a.patch(path, `{"url":null}`).codes()["body.url"])
				return
			}
			nulls := map[string]any{}
			for name := range given {
				nulls[name] = nil
			}
			back := a.patch(path, encoded(t, nulls))
			require.Equal(t, http.StatusOK, back.status, back.raw)
			require.Equal(t, before.Version+2, back.monitor().Version)
			again := a.fields(path)
			for _, follows := range []string{"version", "updated_at", "status", "status_since"} {
				delete(was, follows)
				delete(again, follows)
			}
			require.Equal(t, was, again, "null gives the default")
			require.Equal(t, wasStored, a.storedRow(before.ID))

			// And in a monitor that is created with it.
			if field == "key" {
				value = "another"
			}
			maps.Copy(base, given)
			base["url"], base[field] = "https://example.com/created/"+field, value
			made := a.post(monitorsPath, encoded(t, base))
			require.Equal(t, http.StatusCreated, made.status, made.raw)
			requireShows(t, name, value, a.fields(made.header.Get("Location")))
		})
	}
}

// What a property's schema says of its values must hold to the last of them.
func TestEveryBound(t *testing.T) {
	t.Parallel()
	a := newTestAPIOn(t, dbtest.New(t))
	// What a field's bounds need of others.
	companions := map[string]map[string]any{
		"interval_seconds": {"timeout_ms": 100}, "max_total_ms": {"timeout_ms": 30000}, "degraded_after_ms": {"timeout_ms": 30000},
	}
	bounds := 0
	for field, property := range a.properties("MonitorCreate") {
		if property.Minimum != nil || property.MaxLength != nil {
			bounds++
		}
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			a := &testAPI{t: t, pool: a.pool, handler: a.handler, log: a.log}
			created := func(value any) answer {
				body := map[string]any{"url": "https://example.com/" + field}
				maps.Copy(body, companions[field])
				body[field] = value
				return a.post(monitorsPath+"?if_exists=update", encoded(t, body))
			}
			refused := func(value any) {
				answer := created(value)
				require.Equal(t, http.StatusBadRequest, answer.status, answer.raw)
				require.Contains(t, answer.codes(), "body."+field, "%v", value)
			}
			taken := func(value any) {
				answer := created(value)
				require.Contains(t, []int{http.StatusOK, http.StatusCreated}, answer.status, "%v: %s", value, answer.raw)
			}
			if slices.Contains(property.Type, "string") {
				refused("a\x00b")
			}
			if property.Minimum != nil {
				require.NotNil(t, property.Maximum)
				taken(*property.Minimum)
				taken(*property.Maximum)
				refused(*property.Minimum - 1)
				refused(*property.Maximum + 1)
			}
			if property.MaxLength != nil {
				taken(strings.Repeat("a", *property.MaxLength))
				refused(strings.Repeat("a", *property.MaxLength+1))
			}
		})
	}
	require.Greater(t, bounds, 8)
}

// property is one of a schema of the OpenAPI document.
type property struct {
	Type             types
	Description      string
	Examples         []any
	Minimum, Maximum *int
	MaxLength        *int
}

// types are the JSON types that a property may have: one, or a list.
type types []string

func (t *types) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	return json.Unmarshal(raw, (*[]string)(t))
}

// What the database keeps of a monitor as JSON has one name for each of its fields, there and in the API.
func TestStoredNamesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	properties := newTestAPI(t).properties("MonitorPatch")
	for _, stored := range []reflect.Type{
		reflect.TypeFor[probe.Request](), reflect.TypeFor[probe.Secrets](), reflect.TypeFor[probe.Expectations](),
	} {
		for field := range stored.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			require.Contains(t, properties, name, "%s.%s", stored, field.Name)
		}
	}
}

func (a *testAPI) properties(schema string) map[string]property {
	a.t.Helper()
	var document struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]property }
		}
	}
	a.get("/openapi.json").into(&document)
	return document.Components.Schemas[schema].Properties
}

// fields gives what is shown of a monitor.
func (a *testAPI) fields(path string) map[string]any {
	a.t.Helper()
	return fieldsOf(a.get(path))
}

// fieldsOf gives the fields of an answer, without the one that changes by itself.
func fieldsOf(answer answer) map[string]any {
	fields := map[string]any{}
	answer.into(&fields)
	delete(fields, "next_scan_at")
	return fields
}

// storedRow gives what the database has of a monitor, without what any change changes.
func (a *testAPI) storedRow(id int64) map[string]any {
	a.t.Helper()
	row := map[string]any{}
	require.NoError(a.t, json.Unmarshal([]byte(dbtest.One[string](a.t, a.pool, `
		SELECT (to_jsonb(m) - '{version,updated_at}'::text[]
			|| jsonb_build_object('secrets', (SELECT secrets FROM monitor_secrets WHERE monitor_id = m.id)))::text
		FROM monitors AS m WHERE id = $1`, id)), &row))
	return row
}

// requireDefault checks that a field of which nothing is said is shown as its description says: Default: 60.
func requireDefault(t *testing.T, description string, shown any) {
	t.Helper()
	_, said, ok := strings.Cut(description, "Default: ")
	require.True(t, ok, description)
	switch said, _, _ = strings.Cut(strings.TrimSuffix(said, "."), ", "); said {
	case "none":
		require.Contains(t, []string{"<nil>", "[]", "map[]", "false"}, fmt.Sprint(shown)) // false: no secret
	case "host and path of the url", "that of Riverwatch", "whichever connects first": // in words
	default:
		require.Equal(t, said, strings.Trim(fmt.Sprint(shown), "[]"))
	}
}

// requireShows checks that a field is shown as it was given: of a secret, that there is one, and of headers, those that are
// none.
func requireShows(t *testing.T, field string, given any, shown map[string]any) {
	t.Helper()
	switch {
	case strings.HasSuffix(field, "_set"):
		given = true
	case field == "headers":
		given = map[string]any{"Accept": "application/json"}
		require.Equal(t, []any{"X-Api-Key"}, shown["secret_headers"])
	}
	require.Equal(t, given, shown[field])
}
