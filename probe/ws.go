package probe

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 has it
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"riverwatch/uptime"
)

type webSocketProtocol struct{}

func (webSocketProtocol) mayRepeat(Target) bool { return true } // nothing is sent once the protocol is agreed on

func (webSocketProtocol) rest(u *url.URL) (string, error) { return pathAndQuery(u), nil }

// ask makes the opening handshake of a WebSocket (RFC 6455, section 4), and hangs up.
func (webSocketProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	location := *target
	location.Scheme = strings.Replace(target.Scheme, "ws", "http", 1)
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), http.NoBody)
	if err != nil {
		return unchecked
	}
	a.setHeaders(asked, false)
	key := base64.StdEncoding.EncodeToString([]byte(rand.Text()[:16]))
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": key,
	} {
		asked.Header.Set(name, value)
	}
	answer, v := a.exchange(ctx, hop, asked, false)
	if answer == nil {
		return v
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		if v := a.understand(answer); v.outcome != "" {
			return v
		}
		body := a.bodyOf(answer)
		defer body.release()
		if _, v := a.take(ctx, hop, answer, body); v.outcome != "" {
			return v
		}
		a.expect(uptime.StatusMismatch, Expected{Name: "status", Want: "101", Found: strconv.Itoa(answer.StatusCode)})
		return a.unmet
	}
	a.result.HTTPStatus, a.result.HTTPVersion = new(answer.StatusCode), answer.Proto
	a.expect(uptime.StatusMismatch, Expected{Name: "status", Want: "101", Found: "101", Met: true})
	if !strings.EqualFold(answer.Header.Get("Upgrade"), "websocket") ||
		answer.Header.Get("Sec-Websocket-Accept") != acceptOf(key) {
		return verdict{uptime.HTTPMalformed, "the answer switches protocols, but not to the WebSocket that was asked for"}
	}
	return a.met(verdict{uptime.OK, ""})
}

// acceptOf is what a server makes of a client's key, to show that it understood.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 has it
	return base64.StdEncoding.EncodeToString(sum[:])
}
