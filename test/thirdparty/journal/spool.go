// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// spool writes the file of a message to come. What is not committed is removed
// by Discard, and by the next opening of the store.
type spool struct {
	mu   sync.Mutex
	file *os.File
	size int64
	// ended says that Body was called and the bytes are on the disk, gone that
	// they are committed or discarded.
	ended, gone bool
}

// Spool implements mailflow.Ledger.
func (s *store) Spool(ctx context.Context) (mailflow.Spool, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	f, err := os.CreateTemp(filepath.Join(s.dir, "messages"), "*.eml")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
	}
	return &spool{file: f}, nil
}

// Write implements io.Writer.
func (p *spool) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.file.Write(b)
	p.size += int64(n)
	if errors.Is(err, os.ErrClosed) {
		return n, err
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
	}
	return n, err
}

// Body implements mailflow.Spool. It flushes the bytes and their name, so that
// the commit need not: sessions do this side by side.
func (p *spool) Body() (mailflow.Body, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, os.ErrClosed
	}
	if !p.ended {
		err := errors.Join(p.file.Sync(), p.file.Close(), syncDir(filepath.Dir(p.file.Name())))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
		}
		p.ended = true
	}
	return openBody(p.file.Name(), p.size)
}

// Discard implements mailflow.Spool. A file that cannot be removed now goes
// when the store is opened.
func (p *spool) Discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	if !p.ended {
		_ = p.file.Close()
	}
	_ = os.Remove(p.file.Name())
}

// ready reports whether p can be committed into dir.
func (p *spool) ready(dir string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended && !p.gone && filepath.Dir(p.file.Name()) == filepath.Join(dir, "messages")
}

// commit says that the file is the store's now.
func (p *spool) commit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
}

// Body implements mailflow.Ledger.
func (s *store) Body(ctx context.Context, id string) (mailflow.Body, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	return openBody(s.path(m.File), m.Length)
}

// body is a file that is read. One that is removed meanwhile remains readable.
type body struct {
	*os.File

	size int64
}

func openBody(name string, size int64) (mailflow.Body, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &body{File: f, size: size}, nil
}

// Size implements mailflow.Body.
func (b *body) Size() int64 { return b.size }

// Interface guards
var (
	_ mailflow.Spool = (*spool)(nil)
	_ mailflow.Body  = (*body)(nil)
)
