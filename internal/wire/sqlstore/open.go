// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Options says where the store is and what it lives on.
type Options struct {
	// Dir is the directory of the store. It is made, for this user alone, if
	// it does not exist.
	Dir string
	// Now is the clock. It dates what has no time of its own: when a delivery
	// came to rest.
	Now func() time.Time
	// After is the clock of the probes. Default: a timer.
	After func(time.Duration) <-chan time.Time
	// Readers is the number of connections that read. Default: the number of
	// cores, at least 2; more make each other wait.
	Readers int

	prepareWrite func(*session) error // for tests
}

// Store is an open store. See [Open].
type Store struct {
	dir     string
	dirs    spoolDirs
	shelf   shelf
	now     func() time.Time
	lock    *os.File
	readers *pool
	writer  *writer
	book    *book

	claimMu sync.Mutex
	claimer *session // guarded by claimMu
	closed  atomic.Bool
}

// minSQLite is the first version without the bug that corrupts the database
// when the WAL is reset (fixed in 3.51.3).
var minSQLite = [3]int{3, 51, 3}

// errClosed is returned by every method after Close.
var errClosed = fmt.Errorf("sqlite store: %w", fs.ErrClosed)

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens the store for this process alone, brings its schema up to date
// and deletes what a crash has left in the spool.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the sqlite store: %w", err)
		}
	}()
	if o.After == nil {
		o.After = func(d time.Duration) <-chan time.Time { return time.NewTimer(d).C }
	}
	if o.Readers <= 0 {
		o.Readers = max(2, runtime.NumCPU())
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := makeDirs(o.Dir); err != nil {
		return nil, err
	}
	s := &Store{dir: o.Dir, now: o.Now, dirs: spoolDirs{spool: filepath.Join(o.Dir, "spool")}}
	s.shelf.dirs = &s.dirs
	if s.lock, err = lockDir(o.Dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// start opens the connections, in the order in which the database needs them,
// and starts the writer.
func (s *Store) start(ctx context.Context, o Options) error {
	file := filepath.Join(s.dir, "mail.db")
	if err := makeFile(file); err != nil {
		return err
	}
	session, err := openSession(ctx, file, writerPragmas)
	if err != nil {
		return err
	}
	s.writer = &writer{
		ctx: context.WithoutCancel(ctx), file: file, after: o.After, prepare: o.prepareWrite, removed: s.removeFiles, session: session,
		ops: make(chan *op, maxBatchOps), stop: make(chan struct{}), gone: make(chan struct{}),
	}
	err = s.prepare(ctx, file, o.Readers)
	s.writer.book = s.book
	go s.writer.run() // also after an error, so that closing is one way
	return err
}

// prepare brings the database to where the store can work with it.
func (s *Store) prepare(ctx context.Context, file string, readers int) error {
	if err := checkVersion(ctx, s.writer.session); err != nil {
		return err
	}
	if err := migrate(ctx, file); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	var err error
	if s.readers, err = openPool(file, readers); err != nil {
		return err
	}
	if s.claimer, err = openSession(ctx, file, readerPragmas); err != nil {
		return err
	}
	if s.book, err = readBook(ctx, s.readers); err != nil {
		return err
	}
	return s.sweepOrphans(ctx)
}

// Close implements io.Closer. What waits to be written is written first;
// bodies that are open remain readable.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return errClosed
	}
	return s.release()
}

// release closes what is open. The writer's connection is the last one: it
// then folds the WAL into the database.
func (s *Store) release() error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.claimer != nil {
		s.claimMu.Lock()
		errs = append(errs, s.claimer.close())
		s.claimMu.Unlock()
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	s.shelf.close()
	return errors.Join(append(errs, unlockDir(s.lock))...)
}

// open returns why the store cannot be used, or nil.
func (s *Store) open(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// write has the writer run an operation.
func (s *Store) write(ctx context.Context, bytes int, run func(*change) error) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.writer.do(ctx, bytes, run)
}

// Ready implements [mailflow.Keeper].
func (s *Store) Ready(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.writer.ready()
}

// makeFile makes the database file, so that nobody else can read it.
func makeFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	return f.Close()
}

// checkVersion refuses a library that corrupts databases.
func checkVersion(ctx context.Context, q querier) error {
	var text string
	if _, err := one(ctx, q, []any{&text}, `SELECT sqlite_version()`); err != nil {
		return err
	}
	var have [3]int
	for i, part := range strings.SplitN(text, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return fmt.Errorf("reading the version of SQLite, %q: %w", text, err)
		}
		have[i] = n
	}
	for i, n := range have {
		if n > minSQLite[i] {
			return nil
		}
		if n < minSQLite[i] {
			return fmt.Errorf("SQLite %s can corrupt its database: build with modernc.org/sqlite of at least %d.%d.%d",
				text, minSQLite[0], minSQLite[1], minSQLite[2])
		}
	}
	return nil
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, file string) error {
	s, err := openSession(ctx, file, writerPragmas)
	if err != nil {
		return err
	}
	// The migrations take the connection from the pool themselves.
	if err := s.conn.Close(); err != nil {
		return err
	}
	defer func() { _ = s.db.Close() }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, known, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if current > known {
		return fmt.Errorf("%s has schema %d, and this program knows schemas up to %d: "+
			"run the newer program that wrote it, or restore the backup made before the upgrade", file, current, known)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bringing the schema up to date: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ mailflow.Store = (*Store)(nil)
	_ mailflow.Spool = (*spool)(nil)
	_ mailflow.Body  = (*inlineBody)(nil)
	_ mailflow.Body  = (*fileBody)(nil)
	_ querier        = (*session)(nil)
	_ querier        = (*pool)(nil)
	_ querier        = quick{}
)
