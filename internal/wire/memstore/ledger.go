// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Commit implements [mailflow.Ledger].
func (s *Store) Commit(ctx context.Context, d *mailflow.Decision) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.commit(d)
}

// CommitDecided implements [mailflow.Ledger]. If decide returns no decision
// nothing is committed.
func (s *Store) CommitDecided(ctx context.Context, decide func(mailflow.View) (*mailflow.Decision, error)) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d, err := decide(view{s})
	if err != nil || d == nil {
		return err
	}
	return s.commit(d)
}

func (s *Store) commit(d *mailflow.Decision) error {
	if err := s.checkAllFacts(d); err != nil {
		return err
	}
	if err := s.mayCommit(d, newcomers{}); err != nil {
		return err
	}
	s.write(d)
	return nil
}

// checkAllFacts checks the facts of d and of what was made because of it.
func (s *Store) checkAllFacts(d *mailflow.Decision) error {
	if err := s.checkFacts(d.Facts); err != nil {
		return err
	}
	for i := range d.Made {
		if err := s.checkAllFacts(&d.Made[i]); err != nil {
			return err
		}
	}
	return nil
}

// mayCommit checks everything else that can refuse d and what was made because
// of it, so that write cannot fail. It adds their rows to fresh.
func (s *Store) mayCommit(d *mailflow.Decision, fresh newcomers) error {
	if err := check(d); err != nil {
		return err
	}
	if sp, ok := d.Spool.(*spool); !ok || !sp.ready() {
		return fmt.Errorf("committing %s: %w", d.Message.ID, errSpool)
	}
	if err := take(fresh, "message", d.Message.ID, s.messages); err != nil {
		return err
	}
	if err := s.checkNew(d.Deliveries, fresh); err != nil {
		return err
	}
	if err := s.talk.check(&d.Postings, fresh); err != nil {
		return err
	}
	for i := range d.Made {
		if err := s.mayCommit(&d.Made[i], fresh); err != nil {
			return fmt.Errorf("committing what was made of %s: %w", d.Message.ID, err)
		}
	}
	return nil
}

// checkNew reports a delivery whose ID is taken.
func (s *Store) checkNew(ds []mailflow.Delivery, fresh newcomers) error {
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

func (s *Store) write(d *mailflow.Decision) {
	s.writeFacts(d.Facts)
	m := &message{StoredMessage: keptMessage(&d.Message), body: d.Spool.(*spool).commit()}
	if len(d.Deliveries) == 0 && d.Unrouted == nil {
		m.alone = s.now()
	}
	s.messages[m.ID] = m
	for i := range d.Deliveries {
		s.put(&d.Deliveries[i])
	}
	for _, id := range d.Claimed {
		s.claims[id] = true
	}
	if d.Unrouted != nil {
		s.unrouted[m.ID] = keptUnrouted(d.Unrouted)
	}
	s.post(&d.Postings)
	for i := range d.Made {
		s.write(&d.Made[i])
	}
}

// put writes a row of the queue.
func (s *Store) put(d *mailflow.Delivery) {
	row := &delivery{Delivery: keptDelivery(d)}
	if !row.waits() {
		row.rests = s.now()
	}
	s.deliveries[d.ID] = row
}

// Message implements [mailflow.Ledger].
func (s *Store) Message(ctx context.Context, id string) (*mailflow.StoredMessage, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	kept := keptMessage(&m.StoredMessage)
	return &kept, nil
}

// Received implements [mailflow.Ledger].
func (s *Store) Received(ctx context.Context, since time.Time, after string, n int) ([]mailflow.StoredMessage, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.StoredMessage{}
	for _, id := range slices.Sorted(maps.Keys(s.messages)) {
		if m := s.messages[id]; id > after && !m.Received.Before(micro(since)) && len(found) < limit(n) {
			found = append(found, keptMessage(&m.StoredMessage))
		}
	}
	return found, nil
}

// Body implements [mailflow.Ledger].
func (s *Store) Body(ctx context.Context, id string) (mailflow.Body, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	return newBody(m.body), nil
}

// Spool implements [mailflow.Ledger]. All bytes stay in memory.
func (s *Store) Spool(ctx context.Context) (mailflow.Spool, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return new(spool), nil
}

// spool collects bytes.
type spool struct {
	mu    sync.Mutex
	bytes []byte
	// ended says that Body was called, gone that the bytes are committed or
	// discarded.
	ended, gone bool
}

// Write implements io.Writer.
func (p *spool) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.gone {
		return 0, fs.ErrClosed
	}
	p.bytes = append(p.bytes, b...)
	return len(b), nil
}

// Body implements [mailflow.Spool].
func (p *spool) Body() (mailflow.Body, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, fs.ErrClosed
	}
	p.ended = true
	return newBody(p.bytes), nil
}

// Discard implements [mailflow.Spool].
func (p *spool) Discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes, p.gone = nil, true
}

// ready reports whether p can be committed.
func (p *spool) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended && !p.gone
}

// commit hands the bytes to the store.
func (p *spool) commit() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	return p.bytes
}

// body reads bytes that never change.
type body struct {
	reader *bytes.Reader
	closed atomic.Bool
}

func newBody(b []byte) *body { return &body{reader: bytes.NewReader(b)} }

// ReadAt implements io.ReaderAt.
func (b *body) ReadAt(p []byte, off int64) (int, error) {
	if b.closed.Load() {
		return 0, fs.ErrClosed
	}
	return b.reader.ReadAt(p, off)
}

// Size implements [mailflow.Body].
func (b *body) Size() int64 { return b.reader.Size() }

// Close implements io.Closer.
func (b *body) Close() error {
	if b.closed.Swap(true) {
		return fs.ErrClosed
	}
	return nil
}
