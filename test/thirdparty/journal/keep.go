// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Unrouted implements mailflow.Box.
func (s *store) Unrouted(ctx context.Context, id string, n int) ([]mailflow.Unrouted, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Unrouted{}
	for _, u := range s.unrouted {
		if id == u.Message || id == "" && u.Dropped.IsZero() && u.Routed.IsZero() {
			found = append(found, *copyOfUnrouted(u))
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Unrouted) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Message, a.Message))
	})
	return found[:min(len(found), limit(n))], nil
}

// merged returns the entry that u makes of old, which may be nil: it gets the
// recipients that it does not have; if it was dropped or routed it waits again,
// for what is new in it.
func merged(old, u *mailflow.Unrouted) *mailflow.Unrouted {
	if old == nil {
		return copyOfUnrouted(u)
	}
	entry := copyOfUnrouted(old)
	for _, r := range u.Recipients {
		if !slices.ContainsFunc(entry.Recipients, func(o mailflow.Recipient) bool { return o.Address.Is(r.Address) }) {
			entry.Recipients = append(entry.Recipients, r)
		}
	}
	if !entry.Dropped.IsZero() || !entry.Routed.IsZero() {
		entry.Reason, entry.At, entry.Dropped, entry.Routed = u.Reason, micro(u.At), time.Time{}, time.Time{}
	}
	return entry
}

// DropUnrouted implements mailflow.Box.
func (s *store) DropUnrouted(ctx context.Context, id string, at time.Time) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	old, err := s.waitingUnrouted(id)
	if err != nil {
		return err
	}
	u := *old
	u.Dropped = micro(at)
	return s.write([]change{{Unrouted: &u}})
}

// waitingUnrouted returns an entry that waits for an operator.
func (s *store) waitingUnrouted(id string) (*mailflow.Unrouted, error) {
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

// sweepBatch is the most rows that one transaction of a sweep deletes, so that
// no line of the journal is long.
const sweepBatch = 500

// Sweep implements mailflow.Keeper. A kind whose retention is not positive is
// kept for good. The mutex is released between the transactions.
func (s *store) Sweep(ctx context.Context, r mailflow.Retention, now time.Time) (int, error) {
	for n := 0; ; {
		swept, err := s.sweepSome(ctx, r, now)
		n += swept
		if err != nil || swept == 0 {
			return n, err
		}
	}
}

// sweepSome deletes some rows in one transaction, and returns how many.
func (s *store) sweepSome(ctx context.Context, r mailflow.Retention, now time.Time) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	gone := s.overdue(r, now)
	if err := s.write(gone); err != nil {
		return 0, err
	}
	for _, c := range gone {
		if c.Message != nil {
			_ = os.Remove(s.path(c.Message.File)) // else when the store is opened
		}
	}
	return len(gone), s.shrink()
}

// overdue returns some of the rows that are to be deleted: a message in the
// transaction that deletes the last row that needs it.
func (s *store) overdue(r mailflow.Retention, now time.Time) []change {
	var gone []change
	needed := make(map[string]int)
	for _, d := range s.deliveries {
		needed[d.Message]++
	}
	for id := range s.unrouted {
		needed[id]++
	}
	for _, p := range s.posts {
		needed[p.Message]++
	}
	release := func(id string) {
		if needed[id]--; needed[id] <= 0 {
			gone = append(gone, change{Message: s.messages[id], Gone: true})
		}
	}
	for _, d := range s.deliveries {
		if len(gone) < sweepBatch && over(d.Rests, r.Of(d.State), now) {
			gone = append(gone, change{Delivery: d, Gone: true})
			release(d.Message)
		}
	}
	for id, u := range s.unrouted {
		if len(gone) < sweepBatch && over(cmp.Or(u.Dropped, u.Routed, u.At), r.Unrouted, now) {
			gone = append(gone, change{Unrouted: u, Gone: true})
			release(id)
		}
	}
	for id, m := range s.messages {
		if len(gone) < sweepBatch && over(m.Alone, r.Seen, now) {
			release(id)
		}
	}
	for _, rec := range s.records {
		if len(gone) < sweepBatch && expired(rec.Expires, now) {
			gone = append(gone, change{Record: &rec, Gone: true})
		}
	}
	for _, hits := range s.hits {
		for _, h := range hits {
			if len(gone) < sweepBatch && expired(h.Expires, now) {
				gone = append(gone, change{Hit: &h, Gone: true})
			}
		}
	}
	return gone
}

// worthShrinking is how many bytes the journal may grow beyond twice its rows
// before it is written anew: below, there is nothing to gain.
const worthShrinking = 1 << 20

// shrink writes the journal anew if most of it is history.
func (s *store) shrink() error {
	if s.log.size < 2*s.log.rows+worthShrinking {
		return nil
	}
	fresh, err := writeLog(s.dir, s.all)
	if err != nil {
		return fmt.Errorf("%w: writing the journal anew: %w", mailflow.ErrNoRoom, err)
	}
	old := s.log
	s.log = fresh
	return old.file.Close()
}

// over reports whether what rests since then has been kept long enough.
func over(since time.Time, keep time.Duration, now time.Time) bool {
	return keep > 0 && !since.IsZero() && !since.Add(keep).After(now)
}

func expired(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }
