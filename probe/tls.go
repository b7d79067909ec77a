package probe

import (
	"context"
	"net/url"

	"riverwatch/uptime"
)

// askTLS connects and makes the TLS handshake, which verifies the certificate.
func askTLS(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	plain, err := hop.dial(hop.context(ctx), "tcp", target.Host)
	if err != nil {
		return hop.connectVerdict(ctx, err)
	}
	conn, err := hop.handshake(ctx, plain)
	if err != nil {
		return hop.connectVerdict(ctx, err)
	}
	_ = conn.Close()
	return verdict{uptime.OK, ""}
}
