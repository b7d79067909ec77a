package probe

import (
	"context"
	"net/url"

	"riverwatch/uptime"
)

// askTLS connects and makes the TLS handshake, which verifies the certificate.
func askTLS(ctx context.Context, f *fetch, target *url.URL) verdict {
	hop := f.newHop(target, false)
	defer hop.record(&f.result)
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
