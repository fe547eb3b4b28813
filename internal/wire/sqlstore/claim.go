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
	query := `SELECT id, state, data FROM delivery INDEXED BY delivery_due
		WHERE rests IS NULL AND destination = ? AND due <= ? ORDER BY due, id`
	if c.ExpiredOnly {
		query = `SELECT id, state, data FROM delivery INDEXED BY delivery_expires
			WHERE rests IS NULL AND destination = ? AND expires > 0 AND expires <= ? ORDER BY expires`
	}
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows, err := s.claimer.query(ctx, query, c.Destination, micros(c.DueBy))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	taken := make(map[string]*claim)
	var id, state, data sql.RawBytes
	for len(claimed) < c.Limit && rows.Next() {
		if err := rows.Scan(&id, &state, &data); err != nil {
			return nil, err
		}
		if s.book.claims[string(id)] != nil {
			continue
		}
		taken[string(id)] = &claim{place: place{c.Destination, mailflow.State(state)}}
		claimed = append(claimed, slices.Clone(data))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	maps.Copy(s.book.claims, taken)
	return claimed, nil
}

// Lanes implements [mailflow.Queue]. It costs two look-ups for each
// destination, however much waits there.
func (s *Store) Lanes(ctx context.Context) ([]mailflow.Lane, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.book.mu.Lock()
	destinations := slices.Sorted(maps.Keys(s.book.waiting))
	s.book.mu.Unlock()
	lanes := make([]mailflow.Lane, 0, len(destinations))
	for _, name := range destinations {
		l, err := s.lane(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("looking at what waits for %q: %w", name, err)
		}
		if l.Count > 0 {
			lanes = append(lanes, l)
		}
	}
	return lanes, nil
}

// lane returns what waits for one destination.
func (s *Store) lane(ctx context.Context, name string) (mailflow.Lane, error) {
	l := mailflow.Lane{Destination: name}
	s.claimMu.Lock()
	defer s.claimMu.Unlock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	l.Count = s.book.waiting[name]
	for _, c := range s.book.claims {
		if c.destination == name && !c.fresh {
			l.Count--
		}
	}
	if l.Count <= 0 {
		return l, nil
	}
	var err error
	l.NextDue, err = s.next(ctx, `SELECT id, due FROM delivery INDEXED BY delivery_due
		WHERE rests IS NULL AND destination = ? ORDER BY due, id`, name)
	if err != nil {
		return l, err
	}
	l.NextExpiry, err = s.next(ctx, `SELECT id, expires FROM delivery INDEXED BY delivery_expires
		WHERE rests IS NULL AND destination = ? AND expires > 0 ORDER BY expires`, name)
	return l, err
}

// next returns the time of the first delivery of a query that nobody has.
func (s *Store) next(ctx context.Context, query, name string) (time.Time, error) {
	rows, err := s.claimer.query(ctx, query, name)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = rows.Close() }()
	var id sql.RawBytes
	var at int64
	for rows.Next() {
		if err := rows.Scan(&id, &at); err != nil {
			return time.Time{}, err
		}
		if s.book.claims[string(id)] == nil {
			return timeOf(at), nil
		}
	}
	return time.Time{}, rows.Err()
}
