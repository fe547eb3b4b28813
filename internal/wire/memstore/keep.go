// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Unrouted implements [mailflow.Box].
func (s *Store) Unrouted(ctx context.Context, id string, n int) ([]mailflow.Unrouted, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Unrouted{}
	for _, u := range s.unrouted {
		if id == u.Message || id == "" && u.Dropped.IsZero() && u.Routed.IsZero() {
			found = append(found, *keptUnrouted(u))
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Unrouted) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Message, a.Message))
	})
	return found[:min(len(found), limit(n))], nil
}

// addUnrouted puts u into the box. An entry that is there gets the recipients
// it does not have; if it was dropped or routed it waits again, for what is new
// in it.
func (s *Store) addUnrouted(u *mailflow.Unrouted) {
	old := s.unrouted[u.Message]
	if old == nil {
		s.unrouted[u.Message] = keptUnrouted(u)
		return
	}
	for _, r := range u.Recipients {
		known := slices.ContainsFunc(old.Recipients, func(o mailflow.Recipient) bool { return o.Address.Is(r.Address) })
		if !known {
			old.Recipients = append(old.Recipients, r)
		}
	}
	if !old.Dropped.IsZero() || !old.Routed.IsZero() {
		old.Reason, old.At, old.Dropped, old.Routed = u.Reason, micro(u.At), time.Time{}, time.Time{}
	}
}

// DropUnrouted implements [mailflow.Box].
func (s *Store) DropUnrouted(ctx context.Context, id string, at time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u, err := s.waitingUnrouted(id)
	if err != nil {
		return err
	}
	u.Dropped = micro(at)
	return nil
}

// waitingUnrouted returns an entry that waits for an operator.
func (s *Store) waitingUnrouted(id string) (*mailflow.Unrouted, error) {
	u := s.unrouted[id]
	switch {
	case u == nil:
		return nil, fmt.Errorf("unrouted message %s: %w", id, mailflow.ErrNoRecord)
	case !u.Dropped.IsZero():
		return nil, fmt.Errorf("unrouted message %s is dropped already: %w", id, mailflow.ErrState)
	case !u.Routed.IsZero():
		return nil, fmt.Errorf("unrouted message %s is routed already: %w", id, mailflow.ErrState)
	}
	return u, nil
}

// Sweep implements [mailflow.Keeper]. A kind whose retention is not positive
// is kept for good.
func (s *Store) Sweep(ctx context.Context, r mailflow.Retention, now time.Time) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	before := s.rows()
	for id, d := range s.deliveries {
		if over(d.rests, r.Of(d.State), now) {
			delete(s.deliveries, id)
			s.forget(d.Message)
		}
	}
	for id, u := range s.unrouted {
		if over(cmp.Or(u.Dropped, u.Routed, u.At), r.Unrouted, now) {
			delete(s.unrouted, id)
			s.forget(id)
		}
	}
	for id, m := range s.messages {
		if over(m.alone, r.Seen, now) {
			s.forget(id)
		}
	}
	for key, rec := range s.records {
		if expired(rec.expires, now) {
			delete(s.records, key)
		}
	}
	for key := range s.hits {
		s.hits[key] = slices.DeleteFunc(s.hits[key], func(h mailflow.Hit) bool { return expired(h.Expires, now) })
		if len(s.hits[key]) == 0 {
			delete(s.hits, key)
		}
	}
	return before - s.rows(), nil
}

// rows counts all rows.
func (s *Store) rows() int {
	n := len(s.messages) + len(s.deliveries) + len(s.unrouted) + len(s.records)
	for _, hits := range s.hits {
		n += len(hits)
	}
	return n
}

// forget deletes a message that nothing needs any more.
func (s *Store) forget(id string) {
	for _, d := range s.deliveries {
		if d.Message == id {
			return
		}
	}
	if s.unrouted[id] == nil && !s.posted(id) {
		delete(s.messages, id)
	}
}

// over reports whether what rests since then has been kept long enough.
func over(since time.Time, keep time.Duration, now time.Time) bool {
	return keep > 0 && !since.IsZero() && !since.Add(keep).After(now)
}

func expired(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }
