// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// record is a version under a key.
type record struct {
	version int64
	expires time.Time
}

// Version implements [mailflow.View].
func (s *Store) Version(ctx context.Context, key string) (int64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.records[key].version, nil
}

// Count implements [mailflow.View].
func (s *Store) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.count(key, since, limit), nil
}

func (s *Store) count(key string, since time.Time, limit int) int {
	n := 0
	for _, h := range s.hits[key] {
		if !h.At.Before(micro(since)) {
			n += h.Count
		}
	}
	return min(n, max(limit, 0))
}

// Hits implements [mailflow.Ledger].
func (s *Store) Hits(ctx context.Context, key string, since time.Time) ([]mailflow.Hit, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Hit{}
	for _, h := range s.hits[key] {
		if !h.At.Before(micro(since)) {
			found = append(found, h)
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Hit) int { return a.At.Compare(b.At) })
	return found, nil
}

// hit adds h to its window.
func (s *Store) hit(h mailflow.Hit) {
	h.At, h.Expires = micro(h.At), micro(h.Expires)
	window := s.hits[h.Key]
	i := slices.IndexFunc(window, func(o mailflow.Hit) bool { return o.At.Equal(h.At) })
	if i < 0 {
		s.hits[h.Key] = append(window, h)
		return
	}
	window[i].Count += h.Count
	if old := window[i].Expires; h.Expires.IsZero() || !old.IsZero() && h.Expires.After(old) {
		window[i].Expires = h.Expires
	}
}

// view is the view of a decision that is made inside a commit, where the
// mutex is held already.
type view struct{ s *Store }

// Version implements [mailflow.View].
func (v view) Version(ctx context.Context, key string) (int64, error) {
	return v.s.records[key].version, ctx.Err()
}

// Count implements [mailflow.View].
func (v view) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	return v.s.count(key, since, limit), ctx.Err()
}

// checkFacts returns a [mailflow.StaleError] for the first that does not hold.
func (s *Store) checkFacts(facts []mailflow.Fact) error {
	for _, f := range facts {
		var holds bool
		switch f.Kind {
		case mailflow.FactAbsent:
			holds = s.records[f.Key].version == 0
		case mailflow.FactExists:
			holds = s.records[f.Key].version != 0
		case mailflow.FactVersion:
			holds = s.records[f.Key].version == f.Version
		case mailflow.FactBelow:
			holds = s.count(f.Key, f.Since, f.Bound) < f.Bound
		default:
			return fmt.Errorf("fact of unknown kind %q", f.Kind)
		}
		if !holds {
			return &mailflow.StaleError{Fact: f}
		}
	}
	return nil
}

// writeFacts writes what the facts imply.
func (s *Store) writeFacts(facts []mailflow.Fact) {
	for _, f := range facts {
		switch f.Kind {
		case mailflow.FactAbsent:
			if s.records[f.Key].version == 0 {
				s.records[f.Key] = record{version: 1, expires: micro(f.Expires)}
			}
		case mailflow.FactBelow:
			s.hit(mailflow.Hit{Key: f.Key, At: f.At, Count: 1, Expires: f.Expires})
		case mailflow.FactExists, mailflow.FactVersion:
		}
	}
}
