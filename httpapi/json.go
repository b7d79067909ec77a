package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const maxJSONDepth = 32

// bodySchema is the type that a body decodes into, whose tags document and check it.
type bodySchema struct {
	goType   reflect.Type
	maxBytes int64
}

func (s bodySchema) in(registry huma.Registry) *huma.Schema {
	return registry.Schema(s.goType, true, "")
}

// decodeBody decodes a body strictly into T, and checks it against the tags of T. A member that is null counts there as
// not given.
func decodeBody[T any](a *api, schema bodySchema, raw []byte, location string) (value T, inputErrors []InputError) {
	value, inputErrors = decodeStrictly[T](raw, location)
	if len(inputErrors) > 0 {
		return value, inputErrors
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return value, []InputError{{Location: location, Code: "json_type", Message: "must be a JSON object"}}
	}
	maps.DeleteFunc(members, func(_ string, member any) bool { return member == nil })

	registry := a.huma.OpenAPI().Components.Schemas
	path := huma.NewPathBuffer(nil, 0)
	path.Push(location)
	var result huma.ValidateResult
	huma.Validate(registry, schema.in(registry), path, huma.ModeWriteToServer, members, &result)
	properties := registry.SchemaFromRef(schema.in(registry).Ref).Properties
	for _, err := range result.Errors {
		inputErrors = append(inputErrors, fieldError(err, properties))
	}
	return value, inputErrors
}

// decodeStrictly decodes JSON without duplicate, unknown or wrongly-cased names, trailing data, invalid UTF-8, or a
// number that is not whole where a whole one is asked for.
func decodeStrictly[T any](raw []byte, location string) (value T, inputErrors []InputError) {
	if inputErr := checkSyntax(raw, location); inputErr != nil {
		return value, []InputError{*inputErr}
	}
	if err := json.Unmarshal(raw, &value, json.RejectUnknownMembers(true)); err != nil {
		return value, []InputError{jsonError(err, location)}
	}
	return value, nil
}

// checkSyntax reads one JSON value, no deeper than allowed, with nothing after it.
func checkSyntax(raw []byte, location string) *InputError {
	decoder := jsontext.NewDecoder(bytes.NewReader(raw))
	for more := true; more; more = decoder.StackDepth() > 0 {
		if _, err := decoder.ReadToken(); err != nil {
			inputErr := jsonError(err, location)
			return &inputErr
		}
		if decoder.StackDepth() > maxJSONDepth {
			return &InputError{Location: location, Code: "json_too_deep", Message: "must not nest deeper than 32"}
		}
	}
	if rest := bytes.TrimLeft(raw[decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return &InputError{Location: location, Code: "json_trailing", Message: "must end after one JSON value"}
	}
	return nil
}

// jsonError says what is wrong with JSON that does not decode.
func jsonError(err error, location string) InputError {
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		errors.As(err, &syntactic)
		return InputError{Location: locate(location, syntactic.JSONPointer), Code: "json_duplicate_field", Message: "is there twice"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return InputError{Location: location, Code: "json_invalid", Message: "must be JSON, and whole"}
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		return InputError{
			Location: locate(location, semantic.JSONPointer), Code: "json_unknown_field",
			Message: "is no field here; names are matched by case",
		}
	case errors.As(err, &semantic):
		return InputError{
			Location: locate(location, semantic.JSONPointer), Code: "json_type",
			Message: "is of the wrong type: " + wanted(semantic.GoType),
		}
	default:
		return InputError{Location: location, Code: "json_invalid", Message: "must be JSON in UTF-8 (RFC 8259)"}
	}
}

// locate turns /a/0/b into body.a[0].b.
func locate(location string, pointer jsontext.Pointer) string {
	for token := range pointer.Tokens() {
		if _, err := strconv.Atoi(token); err == nil {
			location += "[" + token + "]"
		} else {
			location += "." + token
		}
	}
	return location
}

// wanted says which JSON a type is decoded from.
func wanted(goType reflect.Type) string {
	if goType == nil {
		return "see /docs"
	}
	for goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	switch goType.Kind() { //nolint:exhaustive // bodies hold no others
	case reflect.Bool:
		return "true or false is accepted"
	case reflect.Int, reflect.Int64:
		return "a whole number is accepted"
	case reflect.String:
		return "a string is accepted"
	case reflect.Slice:
		return "an array is accepted"
	default:
		return "an object is accepted"
	}
}

// fieldError gives what a schema says against a body a code.
func fieldError(err error, properties map[string]*huma.Schema) InputError {
	var detailer huma.ErrorDetailer
	if !errors.As(err, &detailer) {
		return InputError{Location: "body", Code: "input_invalid", Message: err.Error()}
	}
	detail := detailer.ErrorDetail()
	location, message := detail.Location, detail.Message
	field := location[strings.LastIndexByte(location, '.')+1:]
	code := fieldCode(message)
	switch code {
	case "field_required": // huma names the object and, in the message, its field
		location += "." + strings.Fields(strings.TrimPrefix(message, "expected required property "))[0]
		message = "is required"
	case "range":
		// Named after its field, without the unit: timeout_ms gives timeout_range.
		code = strings.TrimSuffix(strings.TrimSuffix(field, "_seconds"), "_ms") + "_range"
		if s := properties[field]; s != nil && s.Minimum != nil && s.Maximum != nil {
			message = fmt.Sprintf("must be from %.0f to %.0f", *s.Minimum, *s.Maximum)
		}
	}
	return InputError{Location: location, Code: code, Message: message}
}

func fieldCode(message string) string {
	for _, rule := range []struct{ message, code string }{
		{validation.MsgExpectedRequiredProperty, "field_required"},
		{validation.MsgExpectedMinimumNumber, "range"},
		{validation.MsgExpectedMaximumNumber, "range"},
		{validation.MsgExpectedMinLength, "string_too_short"},
		{validation.MsgExpectedMaxLength, "string_too_long"},
		{validation.MsgExpectedMinItems, "list_length"},
		{validation.MsgExpectedMaxItems, "list_length"},
		{validation.MsgExpectedArrayItemsUnique, "list_duplicate"},
		{validation.MsgExpectedOneOf, "value_unknown"},
	} {
		if fixed, _, _ := strings.Cut(rule.message, "%"); strings.HasPrefix(message, fixed) {
			return rule.code
		}
	}
	return "json_type"
}
