package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"riverwatch/egress"
	"riverwatch/probe"
)

// checkFlags are what check is to ask, what it expects, and where it may connect to.
type checkFlags struct {
	method, data, basic, bearer, userAgent, host string
	headers                                      []string
	http2, ipv4, ipv6, insecure                  bool
	caFile, certFile, keyFile                    string

	statuses, regexps, headerRegexps, jsonPaths []string
	regexpInvert                                bool
	timeout, maxTotal, degradedAfter            time.Duration
	maxRedirects, certificateDays               int

	allow, allowPorts []string
	privateWrites     bool
	resolver          string
	json              bool
}

func (f *checkFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVarP(&f.method, "method", "X", "", "the request's method (default GET, or POST with --data)")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "a header of the request, as 'Name: value'; repeatable")
	flags.StringVarP(&f.data, "data", "d", "", "body of the request; of tcp: what to send first")
	flags.StringVar(&f.data, "body", "", "the same as --data")
	flags.StringVar(&f.basic, "basic", "", "basic authentication, as user:password")
	flags.StringVar(&f.bearer, "bearer", "", "token for the header Authorization: Bearer")
	flags.StringVarP(&f.userAgent, "user-agent", "A", "", "the header User-Agent")
	flags.StringVar(&f.host, "host", "", "host to ask for in the header Host and in TLS, while connecting to the URL's")
	flags.BoolVar(&f.http2, "http2", false, "offer HTTP/2")
	flags.BoolVarP(&f.ipv4, "ipv4", "4", false, "connect to IPv4 addresses only")
	flags.BoolVarP(&f.ipv6, "ipv6", "6", false, "connect to IPv6 addresses only")
	flags.BoolVarP(&f.insecure, "insecure", "k", false, "take any certificate")
	flags.StringVar(&f.caFile, "ca", "", "file of certificates to trust besides the system's, in PEM")
	flags.StringVar(&f.certFile, "cert", "", "file of the certificate to show to the target, in PEM; with --key")
	flags.StringVar(&f.keyFile, "key", "", "file of its key, in PEM")

	flags.StringSliceVar(&f.statuses, "status", []string{"200-299"}, "statuses that are good, such as 200-299,404")
	flags.StringArrayVar(&f.regexps, "regexp", nil, "what the body must match (RE2 syntax); repeatable")
	flags.BoolVar(&f.regexpInvert, "regexp-invert", false, "a match of the first --regexp is bad instead of good")
	flags.StringArrayVar(&f.headerRegexps, "header-regexp", nil,
		"what a header of the answer must match, as 'Name: regexp'; repeatable")
	flags.StringArrayVar(&f.jsonPaths, "json-path", nil,
		"what must be true of a JSON body, such as '$.status == \"ok\"', '$.n >= 3' or '$.items[0]'; repeatable")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long it may take in all, 100ms to 30s")
	flags.DurationVar(&f.maxTotal, "max-total", 0, "taking longer is a failure")
	flags.DurationVar(&f.degradedAfter, "degraded-after", 0, "taking longer is good, but slow")
	flags.IntVar(&f.maxRedirects, "max-redirects", 10, "how many redirects to follow, 0 to 10")
	flags.IntVar(&f.certificateDays, "certificate-days", 0, "for how many more days the certificate must be valid")

	flags.StringSliceVar(&f.allow, "allow-cidr", nil, "private addresses to allow, such as 10.0.0.0/8 or 10.0.0.0/8@8080; repeatable")
	flags.StringSliceVar(&f.allowPorts, "allow-port", nil, "ports of other protocols to allow, such as 25; repeatable")
	flags.BoolVar(&f.privateWrites, "allow-private-writes", false, "let tcp:// send a body to private addresses that are allowed")
	flags.StringVar(&f.resolver, "resolver", "", "DNS server to ask, such as 9.9.9.9:53 (default: those of this machine)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
}

// read gives what the flags mean, or everything that is wrong with them.
func (f checkFlags) read(
	rawURL string, getenv func(string) string,
) (settings probe.Settings, target probe.Target, wrong []probe.FieldError) {
	r := flagReader{getenv: getenv}
	var err error
	settings.Policy.Allow, settings.Policy.AllowAt, err = egress.ParseAllow(strings.Join(f.allow, ","))
	if err != nil {
		r.refuse("allow_cidr", "flag_invalid", err.Error())
	}
	settings.Policy.PrivateWrites = f.privateWrites
	if settings.Policy.AllowPorts, err = egress.ParsePorts(strings.Join(f.allowPorts, ",")); err != nil {
		r.refuse("allow_port", "flag_invalid", err.Error())
	}
	if f.resolver != "" {
		if settings.Resolver, err = netip.ParseAddrPort(f.resolver); err != nil {
			r.refuse("resolver", "flag_invalid", "must be an address and a port such as 9.9.9.9:53")
		}
	}
	target = r.target(f, rawURL, settings.Policy)
	return settings, target, r.wrong
}

// flagReader gathers what is wrong.
type flagReader struct {
	getenv func(string) string
	wrong  []probe.FieldError
}

func (r *flagReader) refuse(field, code, message string) {
	r.wrong = append(r.wrong, probe.FieldError{Field: field, InputError: &probe.InputError{Code: code, Message: message}})
}

func (r *flagReader) target(f checkFlags, rawURL string, policy egress.Policy) probe.Target {
	normal, err := probe.NormalizeURL(rawURL, policy)
	if inputErr, ok := errors.AsType[*probe.InputError](err); ok {
		r.refuse("url", inputErr.Code, inputErr.Message)
	}
	first, more := "", f.regexps
	if len(f.regexps) > 0 {
		first, more = f.regexps[0], f.regexps[1:]
	}
	target := probe.Target{
		URL: normal, Method: f.method, Timeout: f.timeout, AcceptedStatuses: f.statuses, Regexp: first,
		RegexpInvert: f.regexpInvert, MaxRedirects: f.maxRedirects,
		Request: probe.Request{
			Headers: map[string]string{}, Body: f.data, UserAgent: f.userAgent, HostOverride: f.host, HTTP2: f.http2,
			TLSSkipVerify: f.insecure, CAPEM: r.file("ca_pem", f.caFile),
			ClientCertPEM: r.file("client_certificate_pem", f.certFile),
		},
		Secrets: probe.Secrets{
			Headers: map[string]string{}, BearerToken: r.secret(f.bearer, "RIVERWATCH_CHECK_TOKEN"),
			ClientKeyPEM: r.file("client_key_pem", f.keyFile),
		},
		Expectations: probe.Expectations{
			Regexps: more, MaxTotalMS: r.milliseconds("max_total_ms", f.maxTotal), CertificateDays: f.certificateDays,
			DegradedAfterMS: r.milliseconds("degraded_after_ms", f.degradedAfter), JSON: r.jsonPaths(f.jsonPaths),
		},
	}
	if f.method == "" {
		target.Method = http.MethodGet
		if f.data != "" && probe.Uses(normal, "method") {
			target.Method = http.MethodPost
		}
	}
	for name, value := range r.named("headers", f.headers) {
		if probe.SecretHeader(name) { // a target that echoes it must not bring it on the screen
			target.Secrets.Headers[name] = value
		} else {
			target.Request.Headers[name] = value
		}
	}
	target.Expectations.HeaderRegexps = r.named("header_regexps", f.headerRegexps)
	user, password, hasPassword := strings.Cut(f.basic, ":")
	if f.basic != "" && !hasPassword {
		r.refuse("basic_username", "flag_invalid", "must be user:password, or user:- with the password in RIVERWATCH_CHECK_PASSWORD")
	}
	target.Request.BasicUsername, target.Secrets.BasicPassword = user, r.secret(password, "RIVERWATCH_CHECK_PASSWORD")
	switch {
	case f.ipv4 && f.ipv6:
		r.refuse("ip_version", "flag_invalid", "only one of --ipv4 and --ipv6 may be set")
	case f.ipv4:
		target.Request.IPVersion = 4
	case f.ipv6:
		target.Request.IPVersion = 6
	}
	r.wrong = append(r.wrong, target.Check()...)
	return target
}

// secret takes from the environment what is "-".
func (r *flagReader) secret(given, variable string) string {
	if given == "-" {
		return r.getenv(variable)
	}
	return given
}

func (r *flagReader) file(field, path string) string {
	if path == "" {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		r.refuse(field, "flag_invalid", err.Error())
	}
	return string(text)
}

func (r *flagReader) milliseconds(field string, d time.Duration) int {
	if d != 0 && d < time.Millisecond {
		r.refuse(field, "flag_invalid", "must be at least 1ms")
	}
	return int(d.Milliseconds())
}

// named reads a list of 'Name: value'.
func (r *flagReader) named(field string, list []string) map[string]string {
	values := map[string]string{}
	for _, item := range list {
		name, value, ok := strings.Cut(item, ":")
		if _, twice := values[name]; !ok || twice {
			r.refuse(field, "flag_invalid", fmt.Sprintf("%q: must be 'Name: value', with each name once", name))
		}
		values[name] = strings.TrimPrefix(value, " ")
	}
	return values
}

func (r *flagReader) jsonPaths(list []string) (expectations []probe.JSONExpectation) {
	for i, item := range list {
		expectation, err := parseJSONPath(item)
		if err != nil {
			r.refuse(fmt.Sprintf("json[%d].value", i), "flag_invalid", err.Error())
			expectation = probe.JSONExpectation{Path: "$", Op: probe.OpExists} // so that the others keep their places
		}
		expectations = append(expectations, expectation)
	}
	return expectations
}

// flagNames are the arguments that set fields which have another name.
var flagNames = map[string]string{
	"url": "URL", "body": "--data", "headers": "--header", "basic_username": "--basic", "basic_password": "--basic",
	"bearer_token": "--bearer", "host_override": "--host", "ip_version": "--ipv4, --ipv6", "tls_skip_verify": "--insecure",
	"ca_pem": "--ca", "client_certificate_pem": "--cert", "client_key_pem": "--key", "accepted_statuses": "--status",
	"regexps": "--regexp", "header_regexps": "--header-regexp", "json": "--json-path",
}

// flagOf names the argument that sets a field such as timeout_ms or json[0].path, for people.
func flagOf(field string) string {
	if end := strings.IndexAny(field, ".["); end > 0 {
		field = field[:end]
	}
	if name, ok := flagNames[field]; ok {
		return name
	}
	return "--" + strings.ReplaceAll(strings.TrimSuffix(field, "_ms"), "_", "-")
}
