// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Finish implements [mailflow.Queue].
func (s *Store) Finish(ctx context.Context, o *mailflow.Outcome) error {
	f, err := s.encodeOutcome(o)
	if err != nil {
		return err
	}
	return s.write(ctx, f.bytes, func(c *change) error { return s.finish(c, f) })
}

// finished is an outcome with its rows as they are written.
type finished struct {
	*mailflow.Outcome

	deliveries, parted [][]byte
	postings           postings
	reports            []*encoded
	bytes              int
}

func (s *Store) encodeOutcome(o *mailflow.Outcome) (f *finished, err error) {
	f = &finished{Outcome: o, bytes: rowBytes * (len(o.Deliveries) + len(o.Parted) + len(o.Unrouted))}
	if f.deliveries, err = encodeDeliveries(o.Deliveries); err != nil {
		return nil, err
	}
	if f.parted, err = encodeDeliveries(o.Parted); err != nil {
		return nil, err
	}
	if f.postings, err = encodePostings(&o.Postings, ""); err != nil {
		return nil, err
	}
	f.bytes += f.postings.bytes()
	for i := range o.Reports {
		p, err := s.encode(&o.Reports[i])
		if err != nil {
			return nil, fmt.Errorf("encoding a report: %w", err)
		}
		f.reports = append(f.reports, p)
		f.bytes += p.bytes()
	}
	return f, nil
}

// encodeDeliveries checks the rows and returns their JSON.
func encodeDeliveries(ds []mailflow.Delivery) ([][]byte, error) {
	rows := make([][]byte, len(ds))
	for i := range ds {
		if err := checkDelivery(&ds[i]); err != nil {
			return nil, err
		}
		data, err := encodeDelivery(&ds[i])
		if err != nil {
			return nil, err
		}
		rows[i] = data
	}
	return rows, nil
}

// finish writes an outcome.
func (s *Store) finish(c *change, f *finished) error {
	known := make(map[string]bool, 1) // messages that are there
	for i := range f.Deliveries {
		d := &f.Deliveries[i]
		if err := s.replaceClaimed(c, d, f.deliveries[i]); err != nil {
			return err
		}
		known[d.Message] = true
	}
	for i := range f.Parted {
		d := &f.Parted[i]
		if err := mustHave(c, known, d.Message); err != nil {
			return err
		}
		if err := s.insertDelivery(c, d, f.parted[i]); err != nil {
			return err
		}
	}
	for i := range f.Unrouted {
		u := &f.Unrouted[i]
		if err := mustHave(c, known, u.Message); err != nil {
			return err
		}
		if err := addUnrouted(c, u); err != nil {
			return err
		}
	}
	if err := c.writePostings(&f.postings); err != nil {
		return err
	}
	if err := errors.Join(c.renamed(f.Deliveries), c.renamed(f.Parted)); err != nil {
		return err
	}
	for _, r := range f.reports {
		if err := s.commit(c, r); err != nil {
			return fmt.Errorf("committing a report: %w", err)
		}
	}
	for _, h := range f.Hits {
		if err := c.hit(h); err != nil {
			return err
		}
	}
	return nil
}

// mustHave returns [mailflow.ErrNoRecord] if the ledger lacks the message.
func mustHave(c *change, known map[string]bool, message string) error {
	if known[message] {
		return nil
	}
	var n int64
	found, err := one(c.ctx, c, []any{&n}, `SELECT n FROM message WHERE id = ?`, message)
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", message, err)
	}
	known[message] = true
	return nil
}

// replaceClaimed replaces the row of a claimed delivery and ends the claim.
func (s *Store) replaceClaimed(c *change, d *mailflow.Delivery, data []byte) error {
	was, ok := s.book.end(c, d.ID)
	if !ok {
		return s.notClaimed(c, d.ID)
	}
	if err := s.replace(c, d, data, s.rests(d)); err != nil {
		return err
	}
	c.move(was, -1)
	c.move(placeOf(d), 1)
	return nil
}

// replace replaces the row of a delivery.
func (s *Store) replace(c *change, d *mailflow.Delivery, data []byte, rests any) error {
	n, err := c.exec(`UPDATE delivery SET destination = ?, lane = ?, server = ?, state = ?, due = ?, expires = ?, rests = ?, data = ?
		WHERE id = ?`,
		d.Destination, d.Lane, d.Server, string(d.State), micros(d.Due), micros(d.Expires), rests, string(data), d.ID)
	if err == nil && n == 0 {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return fmt.Errorf("writing delivery %s: %w", d.ID, err)
	}
	return nil
}

// notClaimed returns why a delivery without claim cannot be finished.
func (s *Store) notClaimed(c *change, id string) error {
	if _, err := readDelivery(c, id); err != nil {
		return err
	}
	return fmt.Errorf("delivery %s is not claimed: %w", id, mailflow.ErrState)
}

// readDelivery reads a row of the queue inside a change.
func readDelivery(c *change, id string) (*mailflow.Delivery, error) {
	var data []byte
	found, err := one(c.ctx, c, []any{&data}, `SELECT data FROM delivery WHERE id = ?`, id)
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return nil, fmt.Errorf("delivery %s: %w", id, err)
	}
	return decode[mailflow.Delivery](data)
}

// Act implements [mailflow.Queue].
func (s *Store) Act(ctx context.Context, id string, act mailflow.QueueAct) error {
	return s.write(ctx, rowBytes, func(c *change) error { return s.act(c, id, act) })
}

func (s *Store) act(c *change, id string, act mailflow.QueueAct) error {
	// Nobody may claim it on the way.
	if !s.book.reserve(c, id) {
		return fmt.Errorf("delivery %s is being sent: %w", id, mailflow.ErrState)
	}
	d, err := readDelivery(c, id)
	if err != nil {
		return err
	}
	was := placeOf(d)
	if !order(d, act) {
		return fmt.Errorf("%s of delivery %s, which is %s: %w", act.Kind, id, d.State, mailflow.ErrState)
	}
	data, err := encodeDelivery(d)
	if err != nil {
		return err
	}
	var rests any
	if !waits(d.State) {
		rests = micros(act.At)
	}
	if err := s.replace(c, d, data, rests); err != nil {
		return err
	}
	c.move(was, -1)
	c.move(placeOf(d), 1)
	return nil
}

// order changes d as an operator ordered. It returns false if the state of d
// forbids that.
func order(d *mailflow.Delivery, act mailflow.QueueAct) bool {
	held := d.State == mailflow.StateHeld
	switch act.Kind {
	case mailflow.ActRetry:
		if !waits(d.State) {
			return false
		}
		d.Due = act.At
	case mailflow.ActHold:
		if !waits(d.State) {
			return false
		}
		d.State = mailflow.StateHeld
	case mailflow.ActRelease:
		if !held {
			return false
		}
		release(d, act.At, act.Server)
	case mailflow.ActDrop:
		if !waits(d.State) && !held {
			return false
		}
		d.State = mailflow.StateDropped
	default:
		return false
	}
	d.Reason = act.Reason
	return true
}

// release lets a held delivery wait for an attempt again.
func release(d *mailflow.Delivery, at time.Time, server string) {
	d.State, d.Due = mailflow.StateQueued, at
	if d.Attempts > 0 {
		d.State = mailflow.StateDeferred
	}
	if server != "" {
		d.Server, d.Destination = server, server
	}
}
