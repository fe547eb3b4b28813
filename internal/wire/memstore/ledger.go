// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

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
	if err := s.mayCommit(d); err != nil {
		return err
	}
	s.write(d)
	return nil
}

// mayCommit checks everything that can refuse d, so that write cannot fail.
func (s *Store) mayCommit(d *mailflow.Decision) error {
	if err := check(d); err != nil {
		return err
	}
	if sp, ok := d.Spool.(*spool); !ok || !sp.ready() {
		return fmt.Errorf("committing %s: %w", d.Message.ID, errSpool)
	}
	if err := s.checkFacts(d.Facts); err != nil {
		return err
	}
	if s.messages[d.Message.ID] != nil {
		return fmt.Errorf("message %s: %w", d.Message.ID, mailflow.ErrDuplicate)
	}
	return s.checkNew(d.Deliveries)
}

// checkNew reports a delivery whose ID is taken.
func (s *Store) checkNew(ds []mailflow.Delivery) error {
	fresh := make(map[string]bool)
	for _, d := range ds {
		if s.deliveries[d.ID] != nil || fresh[d.ID] {
			return fmt.Errorf("delivery %s: %w", d.ID, mailflow.ErrDuplicate)
		}
		fresh[d.ID] = true
	}
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
