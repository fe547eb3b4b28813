// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Version implements mailflow.View.
func (s *store) Version(ctx context.Context, key string) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.records[key].Version, nil
}

// Count implements mailflow.View.
func (s *store) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.count(key, since, limit), nil
}

func (s *store) count(key string, since time.Time, limit int) int {
	n := 0
	for _, h := range s.hits[key] {
		if !h.At.Before(micro(since)) {
			n += h.Count
		}
	}
	return min(n, max(limit, 0))
}

// Hits implements mailflow.Ledger.
func (s *store) Hits(ctx context.Context, key string, since time.Time) ([]mailflow.Hit, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Hit{}
	for _, h := range s.hits[key] {
		if !h.At.Before(micro(since)) {
			found = append(found, mailflow.Hit{Key: key, At: h.At, Count: h.Count, Expires: h.Expires})
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Hit) int { return a.At.Compare(b.At) })
	return found, nil
}

// view is the view of a decision that is made inside a commit, where the
// mutex is held already.
type view struct{ s *store }

// Version implements mailflow.View.
func (v view) Version(ctx context.Context, key string) (int64, error) {
	return v.s.records[key].Version, ctx.Err()
}

// Count implements mailflow.View.
func (v view) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	return v.s.count(key, since, limit), ctx.Err()
}

// checkFacts returns a mailflow.StaleError for the first that does not hold.
func (s *store) checkFacts(facts []mailflow.Fact) error {
	for _, f := range facts {
		var holds bool
		switch f.Kind {
		case mailflow.FactAbsent:
			holds = s.records[f.Key].Version == 0
		case mailflow.FactExists:
			holds = s.records[f.Key].Version != 0
		case mailflow.FactVersion:
			holds = s.records[f.Key].Version == f.Version
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

// factChanges returns what the facts imply.
func (s *store) factChanges(facts []mailflow.Fact) []change {
	var changes []change
	for _, f := range facts {
		switch f.Kind {
		case mailflow.FactAbsent:
			changes = append(changes, change{Record: &record{Key: []byte(f.Key), Version: 1, Expires: micro(f.Expires)}})
		case mailflow.FactBelow:
			changes = append(changes, change{Hit: &hit{Key: []byte(f.Key), At: micro(f.At), Count: 1, Expires: micro(f.Expires)}})
		case mailflow.FactExists, mailflow.FactVersion:
		}
	}
	return changes
}
