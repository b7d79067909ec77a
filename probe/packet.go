package probe

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// resendAfter is how long an answer is waited for before the packet is sent again: one that is lost is no outage.
const resendAfter = time.Second

// askUntilAnswered sends a packet, again and again, until one that is received is the answer. Others are passed over:
// they may be forged.
func askUntilAnswered(
	ctx context.Context, hop *hop, conn net.Conn, send func() error, receive func() (answered bool, err error),
) error {
	var resend time.Time
	for {
		if now := time.Now(); !now.Before(resend) {
			hop.mark(&hop.requested)
			if err := send(); err != nil {
				return err
			}
			resend = now.Add(resendAfter)
		}
		_ = conn.SetReadDeadline(before(ctx, resend))
		answered, err := receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		case err != nil:
			return err
		case answered:
			hop.mark(&hop.firstByteAt)
			return nil
		}
	}
}
