package httpapi

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Optional is a field of JSON that may be left out, which is its zero value, or be null.
type Optional[T any] struct {
	Given bool // neither left out nor null
	Null  bool
	Value T
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (o *Optional[T]) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	if in.PeekKind() == jsontext.Null.Kind() {
		o.Null = true
		return in.SkipValue() //nolint:wrapcheck // an error of the decoder tells where it is
	}
	o.Given = true
	return json.UnmarshalDecode(in, &o.Value) //nolint:wrapcheck // as above
}

// MarshalJSON implements json.Marshaler.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Given {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value, json.Deterministic(true)) //nolint:wrapcheck // of strings, numbers, lists and maps
}

// Schema implements huma.SchemaProvider.
func (Optional[T]) Schema(registry huma.Registry) *huma.Schema {
	schema := *registry.Schema(reflect.TypeFor[T](), true, "")
	schema.Nullable = true
	return &schema
}

// said reports whether the client said anything of the field.
func (o *Optional[T]) said() bool { return o.Given || o.Null }

// show makes the field hold a value.
func (o *Optional[T]) show(value T) { *o = Optional[T]{Given: true, Value: value} }
