package probe_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func expecting(expectations probe.Expectations) func(*probe.Target) {
	return func(target *probe.Target) { target.Expectations = expectations }
}

func TestExpectations(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Content-Type", "application/json")
		w.Header().Add("X-Empty", "")
		w.Header()["X-Two"] = []string{"one", "two"}
		_, _ = w.Write([]byte(`{"status": "ok", "n": 3, "deep": [{"on": true}, null], "big": 9007199254740993}`))
	})
	inJSON := func(path, op string, value any) probe.Expectations {
		return probe.Expectations{JSON: []probe.JSONExpectation{{Path: path, Op: op, Value: value}}}
	}
	header := func(name, pattern string) probe.Expectations {
		return probe.Expectations{HeaderRegexps: map[string]string{name: pattern}}
	}
	for name, row := range map[string]struct {
		expectations probe.Expectations
		outcome      uptime.Outcome
		text         string
	}{
		"AllRegexps":         {probe.Expectations{Regexps: []string{"ok", `"n": 3`}}, uptime.OK, ""},
		"OneOfTheRegexps":    {probe.Expectations{Regexps: []string{"ok", "bad"}}, uptime.RegexpMismatch, "regexp: wanted a match of bad, found none"},
		"Header":             {header("Content-Type", "json$"), uptime.OK, ""},
		"HeaderInAnyCase":    {header("content-type", "json$"), uptime.OK, ""},
		"OneOfTwoHeaders":    {header("X-Two", "^two$"), uptime.OK, ""},
		"NoneOfTwoHeaders":   {header("X-Two", "^six$"), uptime.HeaderMismatch, "header X-Two: wanted a match of ^six$, found two"},
		"AnEmptyHeader":      {header("X-Empty", "."), uptime.HeaderMismatch, "header X-Empty: wanted a match of ., found an empty header"},
		"NoSuchHeader":       {header("X-None", ""), uptime.HeaderMismatch, "header X-None: wanted a match of , found no such header"},
		"JSONExists":         {inJSON("$.deep[1]", "exists", nil), uptime.OK, ""},
		"JSONDoesNotExist":   {inJSON("$.deep[2]", "exists", nil), uptime.JSONMismatch, "json $.deep[2]: wanted a value, found no value"},
		"JSONFromTheEnd":     {inJSON("$.deep[-2].on", "equals", true), uptime.OK, ""},
		"JSONNull":           {inJSON("$.deep[1]", "equals", nil), uptime.OK, ""},
		"JSONEquals":         {inJSON("$.status", "equals", "ok"), uptime.OK, ""},
		"JSONEqualsNot":      {inJSON("$.status", "equals", "up"), uptime.JSONMismatch, `json $.status: wanted equals "up", found "ok"`},
		"JSONNotEquals":      {inJSON("$.status", "not_equals", "down"), uptime.OK, ""},
		"JSONOfAnotherType":  {inJSON("$.n", "equals", "3"), uptime.JSONMismatch, `json $.n: wanted equals "3", found 3`},
		"JSONWholeNumber":    {inJSON("$.n", "equals", 3), uptime.OK, ""},
		"JSONLess":           {inJSON("$.n", "less", 4.0), uptime.OK, ""},
		"JSONNotLess":        {inJSON("$.n", "less", int64(3)), uptime.JSONMismatch, "json $.n: wanted less 3, found 3"},
		"JSONLessOrEqual":    {inJSON("$.n", "less_or_equal", 3.0), uptime.OK, ""},
		"JSONGreater":        {inJSON("$.n", "greater", 2.5), uptime.OK, ""},
		"JSONGreaterOrEqual": {inJSON("$.status", "greater_or_equal", "oj"), uptime.OK, ""},
		"JSONWithoutOrder":   {inJSON("$.status", "less", 4.0), uptime.JSONMismatch, `json $.status: wanted less 4, found "ok"`},
		"JSONObject":         {inJSON("$", "equals", "x"), uptime.JSONMismatch, ""},
		"JSONUnknownOp":      {inJSON("$.n", "resembles", 3.0), uptime.JSONMismatch, ""},
		"JSONBadPath":        {inJSON("$[", "exists", nil), uptime.JSONMismatch, ""},
		"BadHeaderRegexp":    {header("X-Two", "("), uptime.Inconclusive, ""},
		"BadRegexp":          {probe.Expectations{Regexps: []string{"("}}, uptime.Inconclusive, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, url, expecting(row.expectations))

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			if row.text != "" {
				require.Equal(t, row.text, result.Error)
				require.Contains(t, result.BodyExcerpt, `"status"`)
			}
			if row.outcome.Good() {
				require.Empty(t, result.BodyExcerpt)
				require.Equal(t, "status", result.Expectations[0].Name)
				require.Greater(t, len(result.Expectations), 1)
			}
		})
	}

	t.Run("JSONThatIsNone", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, answer("hello")), expecting(inJSON("$", "exists", nil)))
		require.Equal(t, uptime.JSONMismatch, result.Outcome)
		require.Contains(t, result.Error, "not JSON")
	})

	t.Run("JSONThatIsCut", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.EndlessBody(t), expecting(inJSON("$", "exists", nil)))
		require.Equal(t, uptime.JSONMismatch, result.Outcome)
		require.Contains(t, result.Error, "too large")
	})
}

func TestExpectationsOfTime(t *testing.T) {
	t.Parallel()
	slow := serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(30 * time.Millisecond) })

	result := probeURL(t, slow, expecting(probe.Expectations{MaxTotalMS: 20}))
	require.Equal(t, uptime.TooSlow, result.Outcome)
	require.Contains(t, result.Error, "max_total_ms: wanted at most 20 ms, found ")

	result = probeURL(t, slow, expecting(probe.Expectations{DegradedAfterMS: 20, MaxTotalMS: 60_000}))
	require.Equal(t, uptime.OKSlow, result.Outcome)
	require.Empty(t, result.Error)

	result = probeURL(t, slow, expecting(probe.Expectations{DegradedAfterMS: 60_000}))
	require.Equal(t, uptime.OK, result.Outcome)
}

func TestExpectationsOfTheCertificate(t *testing.T) {
	t.Parallel()
	url := hostile.UntrustedTLS(t) // valid for two days
	insecure := func(target *probe.Target) { target.Request.TLSSkipVerify = true }

	result := probeURL(t, url, insecure, expecting(probe.Expectations{CertificateDays: 14}))
	require.Equal(t, uptime.TLSExpiresSoon, result.Outcome)
	require.Contains(t, result.Error, "certificate: wanted at least 14 days until it expires, found 1 days, until ")

	result = probeURL(t, url, insecure, expecting(probe.Expectations{CertificateDays: 1}))
	require.Equal(t, uptime.OK, result.Outcome)
	certificate := probe.NewCertificate(result.Certificate)
	require.Equal(t, "CN=hostile", certificate.Subject)
	require.Equal(t, []string{"127.0.0.1"}, certificate.Names)
	require.Len(t, certificate.Fingerprint, 64)
}
