package probe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"riverwatch/uptime"
)

const maxLocationBytes = 8 << 10

func isRedirect(status int) bool { return slices.Contains([]int{301, 302, 303, 307, 308}, status) }

// redirect gives the request that an answer redirects to. It does what http.Client does not: it checks the new URL as
// one that a person typed, and sends nothing to another origin that was meant for this one.
func (a *attempt) redirect(this visit, answer *http.Response) (*visit, verdict) {
	if len(a.result.Redirects) >= a.target.MaxRedirects {
		return nil, verdict{uptime.TooManyRedirects, fmt.Sprintf("there are more than %d redirects", a.target.MaxRedirects)}
	}
	location, ok := parseLocation(answer)
	if !ok {
		return nil, verdict{uptime.RedirectInvalid, "the redirect has no Location that can be followed"}
	}
	normal, err := normalHTTP(location, a.settings.Policy)
	if err != nil {
		return nil, redirectVerdict(err)
	}
	a.result.Redirects = append(a.result.Redirects, Redirect{answer.StatusCode, a.clean(withoutQuery(normal))})
	elsewhere := this.elsewhere || origin(this.url) != origin(normal)
	return &visit{redirectMethod(this.method, answer.StatusCode, !elsewhere), normal, elsewhere}, verdict{}
}

// follow notes a request that is about to be made, and refuses one that was made already.
func (a *attempt) follow(seen map[visit]bool, next visit) verdict {
	key := visit{method: next.method, url: next.url}
	if seen[key] {
		return verdict{uptime.RedirectLoop, "the redirects lead back to a URL that was visited"}
	}
	seen[key] = true
	return verdict{}
}

// parseLocation gives where a redirect leads. Much is refused before it is parsed: parsers have had their bugs.
func parseLocation(answer *http.Response) (location *url.URL, ok bool) {
	values := answer.Header["Location"]
	if len(values) != 1 || len(values[0]) > maxLocationBytes || !isASCII(values[0]) || checkURLText(values[0]) != nil {
		return nil, false
	}
	location, err := answer.Request.URL.Parse(values[0])
	return location, err == nil
}

// redirectVerdict says what a URL that may not be typed means as the target of a redirect.
func redirectVerdict(err error) verdict {
	if input, ok := errors.AsType[*InputError](err); ok {
		switch input.Code {
		case "target_not_allowed":
			return blocked
		case "url_scheme", "url_port_blocked", "url_userinfo":
			return verdict{uptime.RedirectBlocked, "the redirect is not followed: " + input.Message}
		}
	}
	return verdict{uptime.RedirectInvalid, "the redirect's Location is not valid: " + err.Error()}
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
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
