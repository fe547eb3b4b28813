// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ClaimDue implements mailflow.Queue. Claims are in memory only, since they
// end with the process: they cost no line.
func (s *store) ClaimDue(ctx context.Context, c mailflow.Claim) ([]mailflow.Delivery, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	order := func(d *delivery) time.Time { return d.Due }
	if c.ExpiredOnly {
		order = func(d *delivery) time.Time { return d.Expires }
	}
	var due []*delivery
	for id, d := range s.deliveries {
		if waits(d.State) && !s.claims[id] && d.Destination == c.Destination &&
			(c.ExpiredOnly || d.Lane == c.Lane) && !order(d).After(micro(c.DueBy)) && !(c.ExpiredOnly && d.Expires.IsZero()) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b *delivery) int {
		return cmp.Or(order(a).Compare(order(b)), cmp.Compare(a.ID, b.ID))
	})
	due = due[:min(len(due), max(c.Limit, 0))]
	claimed := make([]mailflow.Delivery, 0, len(due))
	for _, d := range due {
		s.claims[d.ID] = true
		claimed = append(claimed, *copyOfDelivery(&d.Delivery))
	}
	return claimed, nil
}

// Lanes implements mailflow.Queue.
func (s *store) Lanes(ctx context.Context) ([]mailflow.Lane, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	lanes := make(map[[2]string]mailflow.Lane)
	expiries := make(map[string]time.Time) // by destination
	for id, d := range s.deliveries {
		if !waits(d.State) || s.claims[id] {
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
	return list, nil
}

// Finish implements mailflow.Queue.
func (s *store) Finish(ctx context.Context, o *mailflow.Outcome) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.mayFinish(o); err != nil {
		return err
	}
	var changes []change
	for i := range o.Deliveries {
		changes = append(changes, s.rowOf(&o.Deliveries[i]))
	}
	for i := range o.Parted {
		changes = append(changes, s.rowOf(&o.Parted[i]))
	}
	box := make(map[string]*mailflow.Unrouted)
	for i := range o.Unrouted {
		u := &o.Unrouted[i]
		box[u.Message] = merged(cmp.Or(box[u.Message], s.unrouted[u.Message]), u)
	}
	for _, u := range box {
		changes = append(changes, change{Unrouted: u})
	}
	changes = append(changes, s.changesOfPostings(&o.Postings)...)
	changes = s.renamed(changes, slices.Concat(o.Deliveries, o.Parted))
	for i := range o.Reports {
		changes = append(changes, s.changesOf(&o.Reports[i])...)
	}
	for _, h := range o.Hits {
		changes = append(changes, change{Hit: &hit{Key: []byte(h.Key), At: micro(h.At), Count: h.Count, Expires: micro(h.Expires)}})
	}
	if err := s.write(changes); err != nil {
		return err
	}
	for i := range o.Deliveries {
		delete(s.claims, o.Deliveries[i].ID)
	}
	for i := range o.Reports {
		s.committed(&o.Reports[i])
	}
	return nil
}

// mayFinish checks everything that can refuse o.
func (s *store) mayFinish(o *mailflow.Outcome) error {
	for i := range o.Deliveries {
		d := &o.Deliveries[i]
		if err := checkDelivery(d); err != nil {
			return err
		}
		switch row := s.deliveries[d.ID]; {
		case row == nil:
			return fmt.Errorf("delivery %s: %w", d.ID, mailflow.ErrNoRecord)
		case !s.claims[d.ID] || !waits(row.State):
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
	if err := s.checkPostings(&o.Postings, fresh); err != nil {
		return err
	}
	for i := range o.Reports {
		if err := s.mayCommit(&o.Reports[i], fresh); err != nil {
			return fmt.Errorf("committing report %s: %w", o.Reports[i].Message.ID, err)
		}
	}
	return nil
}

// Unclaim implements mailflow.Queue.
func (s *store) Unclaim(ctx context.Context, ids ...string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.claims, id)
	}
	return nil
}

// Deliveries implements mailflow.Queue. Newest first is the order of the IDs,
// from the last to the first.
func (s *store) Deliveries(ctx context.Context, q mailflow.QueueQuery) ([]mailflow.Queued, error) {
	if err := s.begin(ctx); err != nil {
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
			Delivery: *copyOfDelivery(&d.Delivery), From: m.From, Subject: m.Subject, Bytes: m.Size, Claimed: s.claims[id],
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

// Act implements mailflow.Queue.
func (s *store) Act(ctx context.Context, id string, a mailflow.QueueAct) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	old := s.deliveries[id]
	switch {
	case old == nil:
		return fmt.Errorf("delivery %s: %w", id, mailflow.ErrNoRecord)
	case s.claims[id]:
		return fmt.Errorf("delivery %s is being sent: %w", id, mailflow.ErrState)
	}
	d := *old
	at, held := micro(a.At), d.State == mailflow.StateHeld
	switch {
	case a.Kind == mailflow.ActRetry && waits(d.State):
		d.Due = at
	case a.Kind == mailflow.ActHold && waits(d.State):
		d.State, d.Rests = mailflow.StateHeld, at
	case a.Kind == mailflow.ActRelease && held:
		d.State, d.Due, d.Rests = mailflow.StateQueued, at, time.Time{}
		if d.Attempts > 0 {
			d.State = mailflow.StateDeferred
		}
		if a.Server != "" {
			d.Server, d.Destination = a.Server, a.Server
		}
	case a.Kind == mailflow.ActDrop && (waits(d.State) || held):
		d.State, d.Rests = mailflow.StateDropped, at
	default:
		return fmt.Errorf("%s of delivery %s, which is %s: %w", a.Kind, id, d.State, mailflow.ErrState)
	}
	d.Reason = a.Reason
	return s.write([]change{{Delivery: &d}})
}

// Depth implements mailflow.Queue.
func (s *store) Depth(ctx context.Context) (map[mailflow.State]int, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	depth := make(map[mailflow.State]int)
	for _, d := range s.deliveries {
		depth[d.State]++
	}
	return depth, nil
}
