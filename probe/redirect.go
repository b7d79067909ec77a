package probe

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"riverwatch/uptime"
)

const maxLocationBytes = 8 << 10

// redirect gives the request that an answer redirects to. It does what http.Client does not: it checks the new URL as
// one that a person typed, and sends nothing to another origin that was meant for this one.
func (a *attempt) redirect(this visit, answer *http.Response) (*visit, verdict) {
	if len(a.result.Redirects) >= a.target.MaxRedirects {
		return nil, verdict{uptime.TooManyRedirects, fmt.Sprintf("there are more than %d redirects", a.target.MaxRedirects)}
	}

	invalid := verdict{uptime.RedirectInvalid, "the redirect has no Location that can be followed"}
	values := answer.Header["Location"] // much is refused before it is parsed: parsers have had their bugs
	if len(values) != 1 || len(values[0]) > maxLocationBytes || checkURLText(values[0]) != nil ||
		strings.ContainsFunc(values[0], func(r rune) bool { return r > unicode.MaxASCII }) {
		return nil, invalid
	}
	location, err := answer.Request.URL.Parse(values[0])
	if err != nil {
		return nil, invalid
	}
	if s, _ := schemeNamed(location.Scheme); s.protocol != (httpProtocol{}) {
		return nil, verdict{uptime.RedirectBlocked, "the redirect is not followed: the URL must begin with http:// or https://"}
	}
	normal, err := normalForm(location, a.settings.Policy)
	if err != nil {
		return nil, redirectVerdict(err)
	}

	a.result.Redirects = append(a.result.Redirects, Redirect{answer.StatusCode, a.clean(hideQuery(normal, normal))})
	elsewhere := this.elsewhere || origin(this.url) != origin(normal)
	return &visit{redirectMethod(this.method, answer.StatusCode, !elsewhere), normal, elsewhere}, verdict{}
}

// redirectVerdict says what a URL that may not be typed means as the target of a redirect.
func redirectVerdict(err error) verdict {
	if input, ok := errors.AsType[*InputError](err); ok {
		switch input.Code {
		case "target_not_allowed":
			return blocked
		case "url_port_blocked", "url_userinfo":
			return verdict{uptime.RedirectBlocked, "the redirect is not followed: " + input.Message}
		}
	}
	return verdict{uptime.RedirectInvalid, "the redirect's Location is not valid: " + err.Error()}
}

// origin gives scheme, host and port of a URL in normal form.
func origin(normal string) string {
	scheme, rest, _ := strings.Cut(normal, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// redirectMethod gives the method to follow with. HEAD stays HEAD; what sends something becomes GET once the origin
// changes, and where browsers do it.
func redirectMethod(method string, status int, sameOrigin bool) string {
	moved := status == http.StatusMovedPermanently || status == http.StatusFound
	switch {
	case method == http.MethodHead:
		return http.MethodHead
	case !sameOrigin, status == http.StatusSeeOther, moved && method == http.MethodPost:
		return http.MethodGet
	}
	return method
}
