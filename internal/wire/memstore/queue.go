// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ClaimDue implements [mailflow.Queue].
func (s *Store) ClaimDue(ctx context.Context, c mailflow.Claim) ([]mailflow.Delivery, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var due []*delivery
	for _, d := range s.deliveries {
		if d.waits() && !s.claims[d.ID] && d.Destination == c.Destination && isDue(d, c) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b *delivery) int {
		if c.ExpiredOnly {
			return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	due = due[:min(len(due), max(c.Limit, 0))]
	claimed := make([]mailflow.Delivery, 0, len(due))
	for _, d := range due {
		s.claims[d.ID] = true
		claimed = append(claimed, keptDelivery(&d.Delivery))
	}
	return claimed, nil
}

// isDue reports whether c asks for d. A delivery without Expires is never
// given up; one that is given up is asked for also before it is due.
func isDue(d *delivery, c mailflow.Claim) bool {
	if c.ExpiredOnly {
		return !d.Expires.IsZero() && !d.Expires.After(micro(c.DueBy))
	}
	return d.Lane == c.Lane && !d.Due.After(micro(c.DueBy))
}

// Lanes implements [mailflow.Queue].
func (s *Store) Lanes(ctx context.Context) ([]mailflow.Lane, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	lanes := make(map[[2]string]mailflow.Lane)
	expiries := make(map[string]time.Time)
	for _, d := range s.deliveries {
		if !d.waits() || s.claims[d.ID] {
			continue
		}
		key := [2]string{d.Destination, d.Lane}
		l, known := lanes[key]
		l.Destination, l.Name = d.Destination, d.Lane
		if !known || d.Due.Before(l.NextDue) {
			l.NextDue = d.Due
		}
		first := expiries[d.Destination]
		if !d.Expires.IsZero() && (first.IsZero() || d.Expires.Before(first)) {
			expiries[d.Destination] = d.Expires
		}
		l.Count++
		lanes[key] = l
	}
	list := make([]mailflow.Lane, 0, len(lanes))
	for _, l := range lanes {
		l.NextExpiry = expiries[l.Destination]
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b mailflow.Lane) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

// Finish implements [mailflow.Queue].
func (s *Store) Finish(ctx context.Context, o *mailflow.Outcome) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.mayFinish(o); err != nil {
		return err
	}
	for i := range o.Deliveries {
		s.put(&o.Deliveries[i])
		delete(s.claims, o.Deliveries[i].ID)
	}
	for i := range o.Parted {
		s.put(&o.Parted[i])
	}
	for i := range o.Unrouted {
		s.addUnrouted(&o.Unrouted[i])
	}
	s.post(&o.Postings)
	for _, d := range slices.Concat(o.Deliveries, o.Parted) {
		s.talk.renamed(d.Message, d.RelayedID)
	}
	for i := range o.Reports {
		s.write(&o.Reports[i])
	}
	for _, h := range o.Hits {
		s.hit(h)
	}
	return nil
}

// mayFinish checks everything that can refuse o, so that the writes cannot
// fail.
func (s *Store) mayFinish(o *mailflow.Outcome) error {
	for i := range o.Deliveries {
		d := &o.Deliveries[i]
		if err := checkDelivery(d); err != nil {
			return err
		}
		switch row := s.deliveries[d.ID]; {
		case row == nil:
			return fmt.Errorf("delivery %s: %w", d.ID, mailflow.ErrNoRecord)
		case !s.claims[d.ID] || !row.waits():
			return fmt.Errorf("delivery %s is not claimed: %w", d.ID, mailflow.ErrState)
		}
	}
	for i := range o.Parted {
		d := &o.Parted[i]
		if err := checkDelivery(d); err != nil {
			return err
		}
		if s.messages[d.Message] == nil {
			return fmt.Errorf("message %s of delivery %s: %w", d.Message, d.ID, mailflow.ErrNoRecord)
		}
	}
	for _, u := range o.Unrouted {
		if s.messages[u.Message] == nil {
			return fmt.Errorf("message %s: %w", u.Message, mailflow.ErrNoRecord)
		}
	}
	fresh := newcomers{}
	if err := s.checkNew(o.Parted, fresh); err != nil {
		return err
	}
	if err := s.talk.check(&o.Postings, fresh); err != nil {
		return err
	}
	for i := range o.Reports {
		err := s.checkAllFacts(&o.Reports[i])
		if err == nil {
			err = s.mayCommit(&o.Reports[i], fresh)
		}
		if err != nil {
			return fmt.Errorf("committing report %s: %w", o.Reports[i].Message.ID, err)
		}
	}
	return nil
}

// Unclaim implements [mailflow.Queue].
func (s *Store) Unclaim(ctx context.Context, ids ...string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.claims, id)
	}
	return nil
}

// Deliveries implements [mailflow.Queue]. Newest first is the order of the
// IDs, from the last to the first.
func (s *Store) Deliveries(ctx context.Context, q mailflow.QueueQuery) ([]mailflow.Queued, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Queued{}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(s.deliveries))) {
		d := s.deliveries[id]
		switch {
		case len(found) == limit(q.Limit):
			return found, nil
		case q.ID != "" && q.ID != id,
			q.Message != "" && q.Message != d.Message,
			q.Server != "" && q.Server != d.Server,
			len(q.States) > 0 && !slices.Contains(q.States, d.State),
			q.Before != "" && id >= q.Before:
			continue
		}
		m := s.messages[d.Message]
		found = append(found, mailflow.Queued{
			Delivery: keptDelivery(&d.Delivery),
			From:     m.From, Subject: m.Subject, Bytes: m.Size,
			Claimed: s.claims[id],
		})
	}
	return found, nil
}

// limit returns how many rows a list has when n are asked for.
func limit(n int) int {
	if n <= 0 {
		return mailflow.DefaultListLimit
	}
	return n
}

// Act implements [mailflow.Queue].
func (s *Store) Act(ctx context.Context, id string, a mailflow.QueueAct) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d := s.deliveries[id]
	switch {
	case d == nil:
		return fmt.Errorf("delivery %s: %w", id, mailflow.ErrNoRecord)
	case s.claims[id]:
		return fmt.Errorf("delivery %s is being sent: %w", id, mailflow.ErrState)
	}
	at, held := micro(a.At), d.State == mailflow.StateHeld
	switch {
	case a.Kind == mailflow.ActRetry && d.waits():
		d.Due = at
	case a.Kind == mailflow.ActHold && d.waits():
		d.State, d.rests = mailflow.StateHeld, at
	case a.Kind == mailflow.ActRelease && held:
		d.State, d.Due, d.rests = mailflow.StateQueued, at, time.Time{}
		if d.Attempts > 0 {
			d.State = mailflow.StateDeferred
		}
		if a.Server != "" {
			d.Server, d.Destination = a.Server, a.Server
		}
	case a.Kind == mailflow.ActDrop && (d.waits() || held):
		d.State, d.rests = mailflow.StateDropped, at
	default:
		return fmt.Errorf("%s of delivery %s, which is %s: %w", a.Kind, id, d.State, mailflow.ErrState)
	}
	d.Reason = a.Reason
	return nil
}

// Depth implements [mailflow.Queue].
func (s *Store) Depth(ctx context.Context) (map[mailflow.State]int, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	depth := make(map[mailflow.State]int)
	for _, d := range s.deliveries {
		depth[d.State]++
	}
	return depth, nil
}
