// SPDX-License-Identifier: Apache-2.0

// Package journal keeps mail in plain files: a store for those who want to
// read theirs with a text editor, and a model for those who write one.
//
// # In memory and in the journal
//
// All rows are in memory, in maps under one mutex, and every question is
// answered by looking at all of them. What survives is the journal: a file
// with one line for each transaction, a JSON array of [change]s. A transaction
// is first checked, then appended and flushed to the disk, and only then
// applied to the maps; opening the store applies all lines again. The maps are
// changed by nothing else ([tables.apply]), and a line is applied as it was
// read back from its JSON: what the store answers is what it would answer after
// a crash.
//
// The bytes of messages lie in files of their own, one for each, written and
// flushed before the line that names them. A file that no line names is of a
// message that was never committed, and is removed when the store is opened.
//
// # What it costs
//
// Memory for all rows, a flush for each transaction, and time that grows with
// the number of rows: it suits some thousand messages. The journal is
// written anew when the store is opened, and when it has grown to much more
// than its rows.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Journal)) }

// Journal keeps mail in a directory: a journal of everything that happened,
// one line of JSON for each transaction, and a file for each message.
//
// One process has the directory at a time; another one is refused. The file
// system must be a local one of a Unix.
type Journal struct {
	// The directory. It is made, readable for this user alone, if it does not
	// exist. Placeholders are resolved when the store is opened. Required.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Journal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.stores.journal", New: func() caddy.Module { return new(Journal) }}
}

// Validate checks that there is a directory. It is not touched: `caddy
// validate` must change nothing.
func (j *Journal) Validate() error {
	if j.Path == "" {
		return errors.New("the journal needs a directory; write `store journal /var/lib/mail`")
	}
	return nil
}

// Identity implements mailflow.StoreOpener. Two spellings of one directory
// would be two stores, of which the second one finds it locked.
func (j *Journal) Identity() string {
	dir, err := j.dir()
	if err != nil {
		dir = j.Path // Open tells the error
	}
	return "journal " + dir
}

// dir returns the path of the directory.
func (j *Journal) dir() (string, error) {
	dir, err := caddy.NewReplacer().ReplaceOrErr(j.Path, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving the path of the journal, %q: %w", j.Path, err)
	}
	return filepath.Abs(dir)
}

// Open implements mailflow.StoreOpener.
func (j *Journal) Open(ctx context.Context) (mailflow.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := j.dir()
	if err != nil {
		return nil, err
	}
	return open(dir, time.Now)
}

// UnmarshalCaddyfile reads the store. Syntax:
//
//	store journal <directory>
func (j *Journal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume store name
	if !d.AllArgs(&j.Path) {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized journal option %q", d.Val())
	}
	return nil
}

// store is a directory that is open.
type store struct {
	dir string
	now func() time.Time

	mu     sync.Mutex
	closed bool
	lock   *os.File
	log    *log
	tables
	claims map[string]bool // of this process, so they end with it
}

// errClosed is returned by every method after Close.
var errClosed = fmt.Errorf("journal: %w", os.ErrClosed)

// begin takes the mutex for one call. The caller unlocks if it returns nil.
func (s *store) begin(ctx context.Context) error {
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

// write commits changes in one transaction.
func (s *store) write(changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	kept, err := s.log.append(changes)
	if err != nil {
		return fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
	}
	for i := range kept {
		s.apply(&kept[i])
	}
	return nil
}

// Ready implements mailflow.Keeper.
func (s *store) Ready(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.log.repair()
}

// Close implements io.Closer. Bodies that are open remain readable.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	return errors.Join(s.log.Close(), unlockDir(s.lock))
}

// Interface guards
var (
	_ caddy.Validator       = (*Journal)(nil)
	_ mailflow.StoreOpener  = (*Journal)(nil)
	_ caddyfile.Unmarshaler = (*Journal)(nil)
	_ mailflow.Store        = (*store)(nil)
	_ io.Closer             = (*log)(nil)
)
