// SPDX-License-Identifier: Apache-2.0

// Package memstore keeps the ledger and the queue in memory: for tests, and
// for gateways that want nothing kept. It promises what [mailflow.Store] does,
// except that nothing survives the process.
//
// It is the reference that other stores are held against, so it is written to
// be obviously right: maps under one mutex, and every list is found by looking
// at all rows. It is quick enough for some ten thousand messages.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Store is a [mailflow.Store] in memory.
type Store struct {
	now func() time.Time

	mu         sync.Mutex
	closed     bool
	messages   map[string]*message
	deliveries map[string]*delivery
	unrouted   map[string]*mailflow.Unrouted
	claims     map[string]bool
	records    map[string]record
	hits       map[string][]mailflow.Hit
	values     map[string]value
	talk       talk
}

// message is a row of the ledger with its bytes.
type message struct {
	mailflow.StoredMessage

	body []byte
	// alone is since when nothing but the ledger needs the row: from the
	// commit of a message that became nothing. Zero if something else does.
	alone time.Time
}

// delivery is a row of the queue.
type delivery struct {
	mailflow.Delivery

	// rests is since when it is held or final; zero while it waits.
	rests time.Time
}

func (d *delivery) waits() bool { return waits(d.State) }

func waits(s mailflow.State) bool {
	return s == mailflow.StateQueued || s == mailflow.StateDeferred
}

// Open returns an empty store. It dates by now what has no time of its own:
// when a delivery became final.
func Open(now func() time.Time) *Store {
	return &Store{
		now:        now,
		messages:   make(map[string]*message),
		deliveries: make(map[string]*delivery),
		unrouted:   make(map[string]*mailflow.Unrouted),
		claims:     make(map[string]bool),
		records:    make(map[string]record),
		hits:       make(map[string][]mailflow.Hit),
		values:     make(map[string]value),
		talk:       newTalk(),
	}
}

// errClosed is returned by every method after Close.
var errClosed = fmt.Errorf("memory store: %w", fs.ErrClosed)

// lock takes the mutex for one call. The caller unlocks if it returns nil.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	return nil
}

// Close implements io.Closer. Bodies that are open remain readable.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	return nil
}

// Ready implements [mailflow.Keeper].
func (s *Store) Ready(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return nil
}

// micro returns t as it is kept.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// keptDelivery returns a copy of d as it is kept.
func keptDelivery(d *mailflow.Delivery) mailflow.Delivery {
	c := d.Clone()
	c.Created, c.Due, c.Expires = micro(d.Created), micro(d.Due), micro(d.Expires)
	if d.Reply != nil {
		r := *d.Reply
		r.Err = nil
		c.Reply = &r
	}
	return *c
}

// keptMessage returns a copy of m as it is kept.
func keptMessage(m *mailflow.StoredMessage) mailflow.StoredMessage {
	c := *m
	c.Received, c.Peer.At = micro(m.Received), micro(m.Peer.At)
	c.Envelope.Recipients = append([]mailflow.Recipient(nil), m.Envelope.Recipients...)
	c.Tags = maps.Clone(m.Tags)
	return c
}

// keptUnrouted returns a copy of u as it is kept.
func keptUnrouted(u *mailflow.Unrouted) *mailflow.Unrouted {
	c := *u
	c.At, c.Dropped, c.Routed = micro(u.At), micro(u.Dropped), micro(u.Routed)
	c.Recipients = append([]mailflow.Recipient(nil), u.Recipients...)
	return &c
}

// errSpool is returned for a decision whose bytes cannot be committed.
var errSpool = errors.New("the spool is not of this store, not ended, discarded or committed already")

// check reports what is wrong with a decision before its facts are looked at.
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

// checkDelivery reports what is wrong with a row of the queue.
func checkDelivery(d *mailflow.Delivery) error {
	switch {
	case d.ID == "":
		return errors.New("delivery without ID")
	case !waits(d.State) && d.State != mailflow.StateHeld && !d.State.Final():
		return fmt.Errorf("delivery %s: state %q is never stored", d.ID, d.State)
	}
	return nil
}

// Interface guards
var (
	_ mailflow.Store = (*Store)(nil)
	_ mailflow.Spool = (*spool)(nil)
	_ mailflow.Body  = (*body)(nil)
	_ mailflow.View  = view{}
)
