package probe

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpguts"
)

const (
	maxHeaders          = 32
	maxHeaderNameBytes  = 128
	maxHeaderValueBytes = 4 << 10
)

// reservedHeaders are those that the protocol needs for itself, that would turn a bound of ours off, that tell who asks
// for whom, or that metadata services of clouds ask for.
var reservedHeaders = []string{
	"host", // there is host_override
	"content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te", "trailer",
	"expect", "http2-settings", "proxy-authorization", "proxy-authenticate",
	"accept-encoding",   // would turn off gzip, and with it the bound on what is unpacked
	"range", "if-range", // a part of the body is not what people see
	"forwarded", "via", "x-real-ip",
	"metadata", "metadata-flavor", "x-google-metadata-request",
}

// CheckHeader checks a header that a request is to have.
func CheckHeader(name, value string) error {
	if err := checkToken(name); err != nil {
		return err
	}
	lower := strings.ToLower(name)
	switch {
	case lower == "host":
		return inputError("header_reserved", "this header is set by host_override")
	case slices.Contains(reservedHeaders, lower),
		strings.HasPrefix(lower, "x-forwarded-"), strings.HasPrefix(lower, "sec-websocket-"),
		strings.Contains(lower, "metadata-token"): // of AWS (X-aws-ec2-…), Alibaba, Huawei, Linode; also its …-ttl-seconds
		return inputError("header_reserved", "this header is set by the probe itself, or must not be sent")
	case len(value) > maxHeaderValueBytes:
		return inputError("header_value", "the value has %d bytes, and may have %d", len(value), maxHeaderValueBytes)
	case !httpguts.ValidHeaderFieldValue(value) || strings.Trim(value, " \t") != value:
		return inputError("header_value", "the value must hold no control characters, and no blanks at either end")
	case strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }): // what others make of it differs
		return inputError("header_value", "the value must be ASCII")
	}
	return nil
}

func checkToken(name string) error {
	if !httpguts.ValidHeaderFieldName(name) || len(name) > maxHeaderNameBytes {
		return inputError("header_name", "the name must be letters, digits, and hyphens or other characters of a token, "+
			"at most %d of them", maxHeaderNameBytes)
	}
	return nil
}

// secretWords are parts of the names of headers whose value is a secret.
var secretWords = []string{"auth", "cookie", "token", "secret", "key", "pass", "session", "credential", "signature"}

// SecretHeader reports whether a header's value is to be kept apart and never shown.
func SecretHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
}
