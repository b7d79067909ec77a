package probe

import "fmt"

// InputError says what is wrong with something that a person typed. It is the only error of the Check and Normalize
// functions, shared by the REST API and the command line.
type InputError struct {
	Code    string // stable, part of the product: url_invalid, regexp_too_long, ...
	Message string // a sentence for people: what is wrong and what is accepted
}

// Error implements error.
func (e *InputError) Error() string { return e.Message }

func inputError(code, format string, args ...any) *InputError {
	return &InputError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldError is an InputError of one field of a Target, by the name that the API and the database have for it:
// "timeout_ms", "headers.X-A", "json[0].path".
type FieldError struct {
	*InputError

	Field string
}
