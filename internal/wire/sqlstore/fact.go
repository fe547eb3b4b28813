// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// view reads the state that decisions rest on.
type view struct{ q querier }

// Version implements [mailflow.View].
func (v view) Version(ctx context.Context, key string) (int64, error) {
	var version int64
	_, err := one(ctx, v.q, []any{&version}, `SELECT version FROM record WHERE key = ?`, []byte(key))
	if err != nil {
		return 0, fmt.Errorf("reading the record %q: %w", key, err)
	}
	return version, nil
}

// Count implements [mailflow.View]. It looks at limit rows at most: windows of
// those who loop are long.
func (v view) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	var n int
	_, err := one(ctx, v.q, []any{&n}, `SELECT coalesce(sum(count), 0) FROM (SELECT count FROM hit WHERE key = ? AND at >= ? LIMIT ?)`,
		[]byte(key), micros(since), max(limit, 0))
	if err != nil {
		return 0, fmt.Errorf("counting the hits of %q: %w", key, err)
	}
	return min(n, max(limit, 0)), nil
}

// view returns the view of decisions that are made outside a commit.
func (s *Store) view() view { return view{quick{s.readers}} }

// Version implements [mailflow.View].
func (s *Store) Version(ctx context.Context, key string) (int64, error) {
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	return s.view().Version(ctx, key)
}

// Count implements [mailflow.View].
func (s *Store) Count(ctx context.Context, key string, since time.Time, limit int) (int, error) {
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	return s.view().Count(ctx, key, since, limit)
}

// Hits implements [mailflow.Ledger].
func (s *Store) Hits(ctx context.Context, key string, since time.Time) ([]mailflow.Hit, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	found := []mailflow.Hit{}
	err := each(ctx, s.readers, func(rows *sql.Rows) error {
		h := mailflow.Hit{Key: key}
		var at, expires int64
		if err := rows.Scan(&at, &h.Count, &expires); err != nil {
			return err
		}
		h.At, h.Expires = timeOf(at), timeOf(expires)
		found = append(found, h)
		return nil
	}, `SELECT at, count, expires FROM hit WHERE key = ? AND at >= ? ORDER BY at`, []byte(key), micros(since))
	if err != nil {
		return nil, fmt.Errorf("listing the hits of %q: %w", key, err)
	}
	return found, nil
}

// hit adds h to its window.
func (c *change) hit(h mailflow.Hit) error {
	_, err := c.exec(`INSERT INTO hit (key, at, count, expires) VALUES (?, ?, ?, ?)
		ON CONFLICT (key, at) DO UPDATE SET count = count + excluded.count,
			expires = iif(expires = 0 OR excluded.expires = 0, 0, max(expires, excluded.expires))`,
		[]byte(h.Key), micros(h.At), h.Count, micros(h.Expires))
	if err != nil {
		return fmt.Errorf("writing a hit of %q: %w", h.Key, err)
	}
	return nil
}

// checkFacts returns a [mailflow.StaleError] for the first that does not hold.
func (c *change) checkFacts(facts []mailflow.Fact) error {
	for _, f := range facts {
		holds, err := c.holds(f)
		if err != nil {
			return err
		}
		if !holds {
			return &mailflow.StaleError{Fact: f}
		}
	}
	return nil
}

func (c *change) holds(f mailflow.Fact) (bool, error) {
	v, ctx := view{c.session}, c.ctx
	if f.Kind == mailflow.FactBelow {
		n, err := v.Count(ctx, f.Key, f.Since, f.Bound)
		return n < f.Bound, err
	}
	version, err := v.Version(ctx, f.Key)
	switch f.Kind {
	case mailflow.FactAbsent:
		return version == 0, err
	case mailflow.FactExists:
		return version != 0, err
	case mailflow.FactVersion:
		return version == f.Version, err
	case mailflow.FactBelow:
	}
	return false, fmt.Errorf("fact of unknown kind %q", f.Kind)
}

// writeFacts writes what the facts imply.
func (c *change) writeFacts(facts []mailflow.Fact) error {
	for _, f := range facts {
		var err error
		switch f.Kind {
		case mailflow.FactAbsent:
			_, err = c.exec(`INSERT INTO record (key, version, expires) VALUES (?, 1, ?) ON CONFLICT DO NOTHING`,
				[]byte(f.Key), micros(f.Expires))
		case mailflow.FactBelow:
			err = c.hit(mailflow.Hit{Key: f.Key, At: f.At, Count: 1, Expires: f.Expires})
		case mailflow.FactExists, mailflow.FactVersion:
		}
		if err != nil {
			return fmt.Errorf("writing the fact %s %q: %w", f.Kind, f.Key, err)
		}
	}
	return nil
}
