package probe_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func withBody(size int) func(*probe.Target) {
	return func(target *probe.Target) {
		target.Method, target.Request.Body = http.MethodPost, strings.Repeat("a", size)
	}
}

// Who has heard enough answers, and reads no more: that is heard, though the request is not written to its end. The body is
// more than any kernel keeps for who does not read, as on loopback that is megabytes.
func TestAnswerBeforeTheRequestIsWritten(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	url := hostile.Serve(t, func(conn *net.TCPConn, _ string) {
		_, _ = fmt.Fprint(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		<-done
	})
	t.Cleanup(func() { close(done) })

	result := probeURL(t, url, withBody(16<<20), within(20*time.Second))

	require.Equal(t, uptime.StatusMismatch, result.Outcome, result.Error)
	require.Equal(t, 413, *result.HTTPStatus)
	require.EqualValues(t, 2, *result.BodyBytes)
	require.NotNil(t, result.Wait)
}

// A request that nobody reads, nor answers, ends with its deadline.
func TestRequestThatNobodyReads(t *testing.T) {
	t.Parallel()
	result := probeURL(t, hostile.NotAccepting(t), withBody(16<<20), within(200*time.Millisecond))
	require.Equal(t, uptime.TimeoutHeader, result.Outcome, result.Error)
}

// Who hangs up while the request is written has not answered.
func TestRequestThatIsCutOff(t *testing.T) {
	t.Parallel()
	result := probeURL(t, hostile.Reset(t), withBody(16<<20))
	require.Equal(t, uptime.ConnectionClosed, result.Outcome, result.Error)
}
