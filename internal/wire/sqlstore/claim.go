// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ClaimDue implements [mailflow.Queue].
func (s *Store) ClaimDue(ctx context.Context, c mailflow.Claim) ([]mailflow.Delivery, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	rows, err := s.claim(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("claiming for %q: %w", c.Destination, err)
	}
	// Decoding is left to the time after the mutex.
	ds := make([]mailflow.Delivery, 0, len(rows))
	for _, data := range rows {
		d, err := decode[mailflow.Delivery](data)
		if err != nil {
			return nil, err
		}
		ds = append(ds, *d)
	}
	return ds, nil
}

// claim marks the deliveries that c asks for and returns their rows.
func (s *Store) claim(ctx context.Context, c mailflow.Claim) (claimed [][]byte, err error) {
	if c.Limit <= 0 {
		return nil, nil
	}
	query := `SELECT id, lane, state, data FROM delivery INDEXED BY delivery_due
		WHERE rests IS NULL AND destination = ? AND lane = ? AND due <= ? ORDER BY due, id`
	args := []any{c.Destination, c.Lane, micros(c.DueBy)}
	if c.ExpiredOnly {
		query = `SELECT id, lane, state, data FROM delivery INDEXED BY delivery_expires
			WHERE rests IS NULL AND destination = ? AND expires > 0 AND expires <= ? ORDER BY expires`
		args = []any{c.Destination, micros(c.DueBy)}
	}
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows, err := s.claimer.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	taken := make(map[string]*claim)
	var id, name, state, data sql.RawBytes
	for len(claimed) < c.Limit && rows.Next() {
		if err := rows.Scan(&id, &name, &state, &data); err != nil {
			return nil, err
		}
		if s.book.claims[string(id)] != nil {
			continue
		}
		taken[string(id)] = &claim{place: place{lane{c.Destination, string(name)}, mailflow.State(state)}}
		claimed = append(claimed, slices.Clone(data))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	maps.Copy(s.book.claims, taken)
	return claimed, nil
}

// Lanes implements [mailflow.Queue]. It costs one look-up for each lane and one
// for each destination, however much waits there.
func (s *Store) Lanes(ctx context.Context) ([]mailflow.Lane, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	waiting := s.book.unclaimed()
	lanes := make([]mailflow.Lane, 0, len(waiting))
	expiries := make(map[string]time.Time)
	for _, l := range slices.SortedFunc(maps.Keys(waiting), lane.compare) {
		due, waits, err := s.next(ctx, `SELECT id, due FROM delivery INDEXED BY delivery_due
			WHERE rests IS NULL AND destination = ? AND lane = ? ORDER BY due, id`, l.destination, l.name)
		if err != nil {
			return nil, fmt.Errorf("looking at what waits for %q: %w", l.destination, err)
		}
		if !waits {
			continue // claimed since it was counted
		}
		expiry, known := expiries[l.destination]
		if !known {
			expiry, _, err = s.next(ctx, `SELECT id, expires FROM delivery INDEXED BY delivery_expires
				WHERE rests IS NULL AND destination = ? AND expires > 0 ORDER BY expires`, l.destination)
			if err != nil {
				return nil, fmt.Errorf("looking at what expires for %q: %w", l.destination, err)
			}
			expiries[l.destination] = expiry
		}
		lanes = append(lanes, mailflow.Lane{
			Destination: l.destination, Name: l.name, NextDue: due, NextExpiry: expiry, Count: waiting[l],
		})
	}
	return lanes, nil
}

// next returns the time of the first delivery of a query that nobody has, and
// whether there is one.
func (s *Store) next(ctx context.Context, query string, args ...any) (time.Time, bool, error) {
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows, err := s.claimer.query(ctx, query, args...)
	if err != nil {
		return time.Time{}, false, err
	}
	defer func() { _ = rows.Close() }()
	var id sql.RawBytes
	var at int64
	for rows.Next() {
		if err := rows.Scan(&id, &at); err != nil {
			return time.Time{}, false, err
		}
		if s.book.claims[string(id)] == nil {
			return timeOf(at), true, nil
		}
	}
	return time.Time{}, false, rows.Err()
}
