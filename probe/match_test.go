package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func matching(pattern string) func(*probe.Target) {
	return func(target *probe.Target) { target.Regexp = pattern }
}

func TestMatch(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	url := serve(t, answer("all is well\n"))
	long := serve(t, answer(strings.Repeat("a", 1<<20)+"the end"))

	for name, row := range map[string]struct {
		url     string
		pattern string
		invert  bool
		outcome uptime.Outcome
		matched *bool
	}{
		"NoRegexp":              {url, "", false, uptime.OK, nil},
		"Matched":               {url, "is w", false, uptime.OK, &yes},
		"NotMatched":            {url, "is w$", false, uptime.RegexpMismatch, &no},
		"MatchedButMustNot":     {url, "well", true, uptime.RegexpMismatch, &yes},
		"NotMatchedAndMustNot":  {url, "ill", true, uptime.OK, &no},
		"MatchedInTheFirstMiB":  {long, "aaa", false, uptime.OKTruncated, &yes},
		"NotInTheFirstMiB":      {long, "the end", false, uptime.RegexpMismatch, &no},
		"WrongStatusAndMatched": {serve(t, http.NotFound), "404", false, uptime.StatusMismatch, &yes},
		"NothingToMatch":        {hostile.Refused(t), "a", false, uptime.ConnectRefused, nil},
		"NotUTF8":               {serve(t, answer("\xff\x00b")), "b$", false, uptime.OK, &yes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, row.url, matching(row.pattern), func(target *probe.Target) {
				target.RegexpInvert = row.invert
			})

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Equal(t, row.matched, result.RegexpMatched)
		})
	}
}

func TestMatchIsCutByTheDeadline(t *testing.T) {
	t.Parallel()
	url := serve(t, answer(strings.Repeat("a", 1<<20-1)+"b"))
	for _, pattern := range []string{"(.*a){250}x", "^(.*a){250}$", "(.{0,700})x"} {
		for _, invert := range []bool{false, true} {
			t.Run(fmt.Sprint(pattern, invert), func(t *testing.T) {
				t.Parallel()
				result := probeURL(t, url, matching(pattern), within(2*time.Second), func(target *probe.Target) {
					target.RegexpInvert = invert
				})

				require.Equal(t, uptime.RegexpTimeout, result.Outcome)
				require.Nil(t, result.RegexpMatched)
				require.EqualValues(t, 1<<20, *result.BodyBytes)
				require.Less(t, result.Total, 10*time.Second, "it is not cut: uncut these take 25 s and more")
			})
		}
	}
}

func TestMatchWithoutAFreeProcessorIsInconclusive(t *testing.T) {
	t.Parallel()
	prober := patient(onLoopback)
	prober.OccupyMatchers()
	target := get(serve(t, answer("hello")))
	target.Regexp, target.Timeout = "hello", 200*time.Millisecond

	result := prober.Probe(t.Context(), target)

	require.Equal(t, uptime.Inconclusive, result.Outcome)
	require.Nil(t, result.RegexpMatched)
}

// F61: slow regexps let quick ones have their turns, and take a second of a processor's time at most.
func TestASlowMatchStarvesNoOther(t *testing.T) {
	t.Parallel()
	matcher := probe.NewMatcherOf(1)
	body := []byte(strings.Repeat("a", 1<<20))
	slow := make(chan error, 2)
	for range cap(slow) {
		go func() {
			_, err := matcher.Match(context.Background(), "(.{0,700})x", body)
			slow <- err
		}()
	}
	for range 5 {
		matched, err := matcher.Match(t.Context(), "aaa", body)
		require.NoError(t, err)
		require.True(t, matched)
	}
	require.Empty(t, slow, "the quick ones waited until a slow one had ended")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := matcher.Match(ctx, "(.{0,700})y", body)
	require.ErrorContains(t, err, "no matcher was free", "it had waited more than it had run")
	for range cap(slow) {
		require.ErrorContains(t, <-slow, "has used up its processor time")
	}
}

// Who had less of the time until his deadline than others is not to blame.
func TestAMatchThatHasMostlyWaitedIsNotDecided(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, probe.CutAfter(time.Hour), "no matcher was free")
	require.ErrorContains(t, probe.CutAfter(-time.Hour), "cut by the deadline")
}
