// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// errSpool is returned for a decision whose bytes cannot be committed.
var errSpool = errors.New("the spool is not of this store, not ended, discarded or committed already")

// spool takes the bytes of one message: in memory while they are few, in a
// file of their own when they are more.
type spool struct {
	dirs  *spoolDirs
	shelf *shelf

	mu    sync.Mutex
	buf   []byte // all bytes, or those that are not yet in the file
	file  *os.File
	id    string // the name of the file; empty while there is none
	state spoolState
	// discarded is set by Discard while the writer has the spool.
	discarded bool
}

type spoolState int

// The states of a spool, in their order.
const (
	spoolOpen    spoolState = iota // takes bytes
	spoolEnded                     // Body was called
	spoolSettled                   // durable, may be committed
	spoolTaken                     // the writer has it
	spoolGone                      // committed or discarded
)

// Spool implements [mailflow.Ledger].
func (s *Store) Spool(ctx context.Context) (mailflow.Spool, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return &spool{dirs: &s.dirs, shelf: &s.shelf, buf: []byte{}}, nil
}

// Write implements io.Writer.
func (p *spool) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != spoolOpen {
		return 0, fs.ErrClosed
	}
	if len(p.buf)+len(b) > mailflow.MaxInlineBody {
		if err := p.spill(); err != nil {
			return 0, err
		}
	}
	if len(b) > mailflow.MaxInlineBody {
		n, err := p.file.Write(b)
		return n, noRoom(err)
	}
	p.buf = append(p.buf, b...)
	return len(b), nil
}

// spill writes what is in memory to the file, which it takes first.
func (p *spool) spill() error {
	if p.file == nil {
		var err error
		if p.file, p.id, err = p.shelf.take(); err != nil {
			return noRoom(err)
		}
	}
	if _, err := p.file.Write(p.buf); err != nil {
		return noRoom(err)
	}
	p.buf = p.buf[:0]
	return nil
}

// noRoom marks an error of the file system as trouble of the store.
func noRoom(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
}

// Body implements [mailflow.Spool].
func (p *spool) Body() (mailflow.Body, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == spoolGone {
		return nil, fs.ErrClosed
	}
	if p.state == spoolOpen {
		if p.file != nil {
			if err := p.spill(); err != nil {
				return nil, err
			}
			p.buf = nil
		}
		p.state = spoolEnded
	}
	if p.id == "" {
		return newInlineBody(p.buf), nil
	}
	return openBody(p.dirs.path(p.id))
}

// settle makes the bytes durable, those in the file at least.
func (p *spool) settle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case spoolSettled:
		return nil
	case spoolEnded:
	case spoolOpen, spoolTaken, spoolGone:
		return errSpool
	}
	if p.file != nil {
		if err := errors.Join(p.file.Sync(), p.file.Close()); err != nil {
			return noRoom(err)
		}
		p.file = nil
	}
	p.state = spoolSettled
	return nil
}

// name returns the name of the file, empty if the bytes are inline.
func (p *spool) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// inline returns the bytes if there is no file. They do not change any more.
func (p *spool) inline() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf
}

// take gives the spool to the writer until c is committed or undone.
func (p *spool) take(c *change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != spoolSettled {
		return errSpool
	}
	p.state = spoolTaken
	c.spools = append(c.spools, p)
	return nil
}

// giveBack takes the spool back from the writer after an undone change.
func (p *spool) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != spoolTaken {
		return
	}
	p.state = spoolSettled
	if p.discarded {
		p.discard()
	}
}

// committed ends the spool; its bytes belong to the ledger.
func (p *spool) committed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.buf = spoolGone, nil
}

// keepFile ends a spool with a file of which nobody knows whether it is
// committed.
func (p *spool) keepFile() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id != "" {
		p.state = spoolGone
	}
}

// Discard implements [mailflow.Spool].
func (p *spool) Discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case spoolTaken:
		p.discarded = true
	case spoolOpen, spoolEnded, spoolSettled:
		p.discard()
	case spoolGone:
	}
}

// discard frees what was written. A file that cannot be removed is swept when
// the store opens the next time.
func (p *spool) discard() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
	if p.id != "" {
		_ = os.Remove(p.dirs.path(p.id))
	}
	p.state, p.buf = spoolGone, nil
}
