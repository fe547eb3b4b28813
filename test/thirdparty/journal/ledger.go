// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Commit implements mailflow.Ledger.
func (s *store) Commit(ctx context.Context, d *mailflow.Decision) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.commit(d)
}

// CommitDecided implements mailflow.Ledger. If decide returns no decision
// nothing is committed.
func (s *store) CommitDecided(ctx context.Context, decide func(mailflow.View) (*mailflow.Decision, error)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d, err := decide(view{s})
	if err != nil || d == nil {
		return err
	}
	return s.commit(d)
}

func (s *store) commit(d *mailflow.Decision) error {
	if err := s.mayCommit(d, newcomers{}); err != nil {
		return err
	}
	if err := s.write(s.changesOf(d)); err != nil {
		return err
	}
	s.committed(d)
	return nil
}

// committed does what a commit does beside the rows.
func (s *store) committed(d *mailflow.Decision) {
	d.Spool.(*spool).commit()
	for _, id := range d.Claimed {
		s.claims[id] = true
	}
	for i := range d.Made {
		s.committed(&d.Made[i])
	}
}

// mayCommit checks everything that can refuse d and what was made because of
// it. It adds their rows to fresh.
func (s *store) mayCommit(d *mailflow.Decision, fresh newcomers) error {
	if err := check(d); err != nil {
		return err
	}
	if p, ok := d.Spool.(*spool); !ok || !p.ready(s.dir) {
		return fmt.Errorf("committing %s: the spool is of another store, not ended, discarded or committed already", d.Message.ID)
	}
	if err := s.checkFacts(d.Facts); err != nil {
		return err
	}
	if err := take(fresh, "message", d.Message.ID, s.messages); err != nil {
		return err
	}
	if err := s.checkNew(d.Deliveries, fresh); err != nil {
		return err
	}
	if err := s.checkPostings(&d.Postings, fresh); err != nil {
		return err
	}
	for i := range d.Made {
		if err := s.mayCommit(&d.Made[i], fresh); err != nil {
			return fmt.Errorf("committing what was made of %s: %w", d.Message.ID, err)
		}
	}
	return nil
}

// check reports what is wrong with a decision in itself.
func check(d *mailflow.Decision) error {
	if d.Message.ID == "" {
		return errors.New("committing a message without ID")
	}
	waiting := make(map[string]bool)
	for i := range d.Deliveries {
		dl := &d.Deliveries[i]
		if dl.Message != d.Message.ID {
			return fmt.Errorf("delivery %s is of message %q, not of %s", dl.ID, dl.Message, d.Message.ID)
		}
		if err := checkDelivery(dl); err != nil {
			return err
		}
		waiting[dl.ID] = waits(dl.State)
	}
	for _, id := range d.Claimed {
		if !waiting[id] {
			return fmt.Errorf("claimed delivery %s is none that waits", id)
		}
	}
	if d.Unrouted != nil && d.Unrouted.Message != d.Message.ID {
		return fmt.Errorf("unrouted entry is of message %q, not of %s", d.Unrouted.Message, d.Message.ID)
	}
	return nil
}

// checkDelivery reports what is wrong with a row of the queue in itself.
func checkDelivery(d *mailflow.Delivery) error {
	switch {
	case d.ID == "":
		return errors.New("delivery without ID")
	case !waits(d.State) && d.State != mailflow.StateHeld && !d.State.Final():
		return fmt.Errorf("delivery %s: state %q is never stored", d.ID, d.State)
	}
	return nil
}

// checkNew reports a delivery whose ID is taken.
func (s *store) checkNew(ds []mailflow.Delivery, fresh newcomers) error {
	for _, d := range ds {
		if err := take(fresh, "delivery", d.ID, s.deliveries); err != nil {
			return err
		}
	}
	return nil
}

// newcomers are the keys of the rows, by kind and key, that a transaction is
// about to add.
type newcomers map[[2]string]bool

// take adds a row to fresh, unless its key is among the rows or taken already.
func take[V any](fresh newcomers, kind, key string, rows map[string]V) error {
	if _, there := rows[key]; there || fresh[[2]string{kind, key}] {
		return fmt.Errorf("%s %s: %w", kind, key, mailflow.ErrDuplicate)
	}
	fresh[[2]string{kind, key}] = true
	return nil
}

// changesOf returns the rows of a decision that may be committed.
func (s *store) changesOf(d *mailflow.Decision) []change {
	p := d.Spool.(*spool)
	m := &message{StoredMessage: *copyOfMessage(&d.Message), File: filepath.Base(p.file.Name()), Length: p.size}
	if len(d.Deliveries) == 0 && d.Unrouted == nil {
		m.Alone = micro(s.now())
	}
	changes := append(s.factChanges(d.Facts), change{Message: m})
	for i := range d.Deliveries {
		changes = append(changes, s.rowOf(&d.Deliveries[i]))
	}
	if d.Unrouted != nil {
		changes = append(changes, change{Unrouted: copyOfUnrouted(d.Unrouted)})
	}
	changes = append(changes, s.changesOfPostings(&d.Postings)...)
	for i := range d.Made {
		changes = append(changes, s.changesOf(&d.Made[i])...)
	}
	return changes
}

// rowOf returns the row of a delivery.
func (s *store) rowOf(d *mailflow.Delivery) change {
	row := &delivery{Delivery: *copyOfDelivery(d)}
	if !waits(d.State) {
		row.Rests = micro(s.now())
	}
	return change{Delivery: row}
}

// Message implements mailflow.Ledger.
func (s *store) Message(ctx context.Context, id string) (*mailflow.StoredMessage, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	return copyOfMessage(&m.StoredMessage), nil
}

// Received implements mailflow.Ledger.
func (s *store) Received(ctx context.Context, since time.Time, after string, n int) ([]mailflow.StoredMessage, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.StoredMessage{}
	for _, id := range slices.Sorted(maps.Keys(s.messages)) {
		if m := s.messages[id]; id > after && !m.Received.Before(micro(since)) && len(found) < limit(n) {
			found = append(found, *copyOfMessage(&m.StoredMessage))
		}
	}
	return found, nil
}
