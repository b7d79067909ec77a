package probe

import "time"

// Target is what one probe is to look at. Check says what may be in it.
type Target struct {
	URL              string        // normal form, as NormalizeURL gives it; its scheme says which protocol is spoken
	Method           string        // GET, HEAD, OPTIONS, POST…; of http and https alone
	Timeout          time.Duration // one total deadline over DNS, connect, TLS, header, body, redirects and regexps
	AcceptedStatuses []string      // "200-299", "204"; empty means 200-299
	Regexp           string        // empty: none. Not asked of the answer to HEAD, which has no body
	RegexpInvert     bool          // good if the text does not match
	MaxRedirects     int           // 0 to 10. 0: a 3xx is judged as an answer, not followed
	Request          Request
	Secrets          Secrets
	Expectations     Expectations
}

func (t Target) hasBasicAuth() bool {
	return t.Request.BasicUsername != "" || t.Secrets.BasicPassword != ""
}

// Request says how to ask, beyond method and URL. The zero Request adds nothing. Its JSON is what the database keeps.
type Request struct {
	Headers       map[string]string `json:"headers,omitempty"`
	Body          string            `json:"body,omitempty"` // for tcp: what to send first
	BasicUsername string            `json:"basic_username,omitempty"`
	UserAgent     string            `json:"user_agent,omitempty"`
	HostOverride  string            `json:"host_override,omitempty"` // asked for in Host and in TLS; the URL's is connected to
	HTTP2         bool              `json:"http2,omitzero"`          // offered, and spoken if the target agrees
	IPVersion     int               `json:"ip_version,omitzero"`     // 4 or 6; 0: whichever connects first
	TLSSkipVerify bool              `json:"tls_skip_verify,omitzero"`
	CAPEM         string            `json:"ca_pem,omitempty"`                 // trusted besides the system's roots
	ClientCertPEM string            `json:"client_certificate_pem,omitempty"` // its key is among the Secrets
}

// Secrets are what a request says that must not be shown. Kept apart from it, for they are readable by fewer people.
type Secrets struct {
	Headers       map[string]string `json:"headers,omitempty"` // those that SecretHeader names
	BasicPassword string            `json:"basic_password,omitempty"`
	BearerToken   string            `json:"bearer_token,omitempty"`
	ClientKeyPEM  string            `json:"client_key_pem,omitempty"`
}

// Expectations are what must be true of an answer besides its status and the one regexp of Target. The zero value
// expects nothing. Its JSON is what the database keeps.
type Expectations struct {
	Regexps         []string          `json:"regexps,omitempty"`        // all must match the body
	HeaderRegexps   map[string]string `json:"header_regexps,omitempty"` // by header: one of its values must match
	JSON            []JSONExpectation `json:"json,omitempty"`
	MaxTotalMS      int               `json:"max_total_ms,omitzero"`      // a scan that takes longer has failed; 0: none
	DegradedAfterMS int               `json:"degraded_after_ms,omitzero"` // one that takes longer is good, but slow; 0: none
	CertificateDays int               `json:"certificate_days,omitzero"`  // days that it must still be valid; 0: any
}

// JSONExpectation is what must be true of one value of a JSON body.
type JSONExpectation struct {
	Path  string `json:"path"` // a singular query of RFC 9535, at most 512 bytes
	Op    string `json:"op"`   // OpExists, OpEquals…
	Value any    `json:"value,omitzero"`
}
