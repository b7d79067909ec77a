package probe

import (
	"context"
	"net/url"

	"riverwatch/uptime"
)

type tlsProtocol struct{}

func (tlsProtocol) mayRepeat(Target) bool { return true } // a handshake changes nothing

func (tlsProtocol) rest(u *url.URL) (string, error) { return "", noPath(u) }

// ask connects and makes the TLS handshake, which verifies the certificate.
func (tlsProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	conn, err := hop.open(ctx, target.Host)
	if err != nil {
		return hop.connectVerdict(ctx, err)
	}
	_ = conn.Close()
	return verdict{uptime.OK, ""}
}
