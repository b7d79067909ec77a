package record

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"riverwatch/db"
	"riverwatch/probe"
)

// maxShown bounds what a process remembers of certificates, to some 15 MB.
const maxShown = 200_000

// shown is a certificate of a monitor's target.
type shown struct {
	monitorID   int64
	fingerprint [sha256.Size]byte
}

// shownCertificates are those that this process knows to be in the database, so that a scan costs nothing there unless
// the certificate changed.
type shownCertificates struct {
	mu    sync.Mutex
	known map[shown]struct{}
}

// unlessKnown gives what is kept of a certificate until it is written; nil, if it need not be. Parsed it takes ten times
// its size, and while the database is away it may have long to wait.
func (s *shownCertificates) unlessKnown(monitorID int64, leaf *x509.Certificate) *newCertificate {
	if leaf == nil {
		return nil
	}
	key := shown{monitorID, probe.Fingerprint(leaf)}
	s.mu.Lock()
	_, known := s.known[key]
	s.mu.Unlock()
	if known {
		return nil
	}
	return &newCertificate{key, probe.NewCertificate(leaf)}
}

// A newCertificate is one that is not known to be in the database.
type newCertificate struct {
	shown
	probe.Certificate
}

// unseen gives the certificates of a batch that are not known to be in the database.
func (s *shownCertificates) unseen(batch []*result) map[shown]probe.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	var unseen map[shown]probe.Certificate
	for _, one := range batch {
		if one.certificate == nil {
			continue
		}
		if _, known := s.known[one.certificate.shown]; !known {
			if unseen == nil {
				unseen = map[shown]probe.Certificate{}
			}
			unseen[one.certificate.shown] = one.certificate.Certificate
		}
	}
	return unseen
}

// add notes certificates that are in the database now. When there are too many, it begins anew: to insert one again
// does no harm.
func (s *shownCertificates) add(certificates map[shown]probe.Certificate) {
	if len(certificates) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) > maxShown {
		s.known = map[shown]struct{}{}
	}
	for key := range certificates {
		s.known[key] = struct{}{}
	}
}

func insertCertificates(
	ctx context.Context, queries *db.Queries, certificates map[shown]probe.Certificate, at time.Time,
) error {
	if len(certificates) == 0 {
		return nil
	}
	params := make([]db.InsertCertificatesParams, 0, len(certificates))
	var ids []int64
	for key, c := range certificates {
		ids = append(ids, key.monitorID)
		params = append(params, db.InsertCertificatesParams{
			MonitorID: key.monitorID, FirstSeenAt: at, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			Fingerprint: c.Fingerprint, Subject: c.Subject, Issuer: c.Issuer, Names: c.Names,
		})
	}
	slices.SortFunc(params, func(a, b db.InsertCertificatesParams) int { // lest two workers deadlock
		return cmp.Or(cmp.Compare(a.MonitorID, b.MonitorID), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	var errs error
	queries.InsertCertificates(ctx, params).Exec(func(_ int, err error) { errs = errors.Join(errs, err) })
	if errs != nil {
		return fmt.Errorf("insert certificates: %w", errs)
	}
	if err := queries.PruneCertificates(ctx, ids); err != nil {
		return fmt.Errorf("prune certificates: %w", err)
	}
	return nil
}
