package httpapi

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
)

const listCertificatesDoc = "The certificates that the monitor's target has shown, the one that was new last first. Each is " +
	"recorded when it is seen for the first time; the newest 100 are kept."

// certificateBody is a certificate as the API shows it.
type certificateBody struct {
	Fingerprint string    `json:"fingerprint" doc:"SHA-256 of the certificate, in hexadecimal." example:"5ef2f214260ab8f58e55eea42e4ac04b0f171807d8d1185fddd67470e9ab6096"`
	FirstSeenAt time.Time `json:"first_seen_at" doc:"When a scan saw it for the first time." example:"2026-11-24T10:00:00Z"`
	Subject     string    `json:"subject" doc:"Whose it is." example:"CN=example.com"`
	Issuer      string    `json:"issuer" doc:"Who signed it." example:"CN=R11,O=Let's Encrypt,C=US"`
	Names       []string  `json:"names" doc:"Host names and addresses that it is for; the first 100." example:"[\"example.com\", \"www.example.com\"]"`
	NotBefore   time.Time `json:"not_before" doc:"From when on it is valid." example:"2026-10-01T00:00:00Z"`
	NotAfter    time.Time `json:"not_after" doc:"Until when it is valid." example:"2026-12-30T00:00:00Z"`
}

type listCertificatesOutput struct {
	Body struct {
		Data []certificateBody `json:"data" doc:"The certificates, the one that was new last first."`
	}
}

func (a *api) listCertificates(ctx context.Context, in *monitorInput) (*listCertificatesOutput, error) {
	queries := db.New(a.Pool)
	if _, err := queries.GetMonitor(ctx, in.ID); err != nil {
		return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
	}
	certificates, err := queries.ListCertificates(ctx, in.ID)
	if err != nil {
		return nil, fmt.Errorf("list the certificates of monitor %d: %w", in.ID, err)
	}

	out := &listCertificatesOutput{}
	out.Body.Data = make([]certificateBody, len(certificates))
	for i, c := range certificates {
		out.Body.Data[i] = certificateBody{
			Fingerprint: c.Fingerprint, FirstSeenAt: c.FirstSeenAt.UTC(), Subject: c.Subject, Issuer: c.Issuer, Names: c.Names,
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		}
	}
	return out, nil
}
