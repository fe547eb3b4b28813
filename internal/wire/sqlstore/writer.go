// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits of one transaction: it holds what a burst of senders brings, and
// stays far below what would make readers and the WAL wait.
const (
	maxBatchOps   = 512
	maxBatchBytes = 8 << 20
)

// Pauses between probes while the database cannot be written. The first is
// short since a full disk is often full for a moment; the last is what a
// sender waits at most when there is room again.
const (
	minProbePause = 250 * time.Millisecond
	maxProbePause = 5 * time.Second
)

// probeBytes is what a probe writes: more than the free pages of a database
// that has just been full.
const probeBytes = 256 << 10

// writer is the goroutine that writes, and the way to it.
type writer struct {
	ctx   context.Context // never ends
	file  string
	book  *book
	after func(time.Duration) <-chan time.Time
	// prepare is called with the connection before each transaction. Tests
	// set limits with it.
	prepare func(*session) error
	// removed is called with the files that a commit has made superfluous.
	removed func(names []string)

	ops     chan *op
	stop    chan struct{} // closed to end run
	gone    chan struct{} // closed when run has ended
	trouble atomic.Pointer[error]

	// For run only.
	session *session // nil while it cannot be opened
	pause   time.Duration
	probe   <-chan time.Time
}

// op is one operation that waits to be written.
type op struct {
	// run does it. Its error refuses the operation alone, unless it is
	// trouble with the database.
	run    func(*change) error
	bytes  int
	state  atomic.Int32
	done   chan error
	err    error
	change change
}

// The states of an op: the writer takes it, or its caller takes it back.
const (
	opWaits int32 = iota
	opTaken
	opWithdrawn
)

// change is what an operation does beside its SQL: what becomes true when it
// is committed, and is taken back when it is not.
type change struct {
	*session

	moved        map[place]int
	taken, ended []string // claims, see book
	spools       []*spool
	removed      []string // files of deleted messages
}

// move counts n rows at p.
func (c *change) move(p place, n int) {
	if c.moved == nil {
		c.moved = make(map[place]int, 2)
	}
	c.moved[p] += n
}

// do has the writer run an operation and waits for its commit. If ctx ends
// before the writer has taken the operation nothing is written.
func (w *writer) do(ctx context.Context, bytes int, run func(*change) error) error {
	if err := w.ready(); err != nil {
		return err
	}
	o := &op{run: run, bytes: bytes, done: make(chan error, 1)}
	select {
	case w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.gone:
		return errClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaits, opWithdrawn) {
			return ctx.Err()
		}
	case <-w.gone:
		if o.state.CompareAndSwap(opWaits, opWithdrawn) {
			return errClosed
		}
	}
	return <-o.done
}

// ready returns why the database cannot be written, or nil.
func (w *writer) ready() error {
	if err := w.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// run writes until stop is closed and nothing waits.
func (w *writer) run() {
	defer close(w.gone)
	for {
		select {
		case o := <-w.ops:
			w.batch(w.collect(o))
		case <-w.probe:
			w.tryAgain()
		case <-w.stop:
			for {
				select {
				case o := <-w.ops:
					w.batch(w.collect(o))
					continue
				default:
				}
				return
			}
		}
	}
}

// collect takes what waits behind first, up to the limits.
func (w *writer) collect(first *op) []*op {
	// Those that the last commit woke have their next operation at hand.
	runtime.Gosched()
	var batch []*op
	bytes := 0
	for o := first; ; {
		if o.state.CompareAndSwap(opWaits, opTaken) {
			batch = append(batch, o)
			bytes += o.bytes
		}
		if len(batch) == maxBatchOps || bytes >= maxBatchBytes {
			return batch
		}
		select {
		case o = <-w.ops:
		default:
			return batch
		}
	}
}

// batch writes the operations in one transaction and answers them.
func (w *writer) batch(batch []*op) {
	if len(batch) == 0 {
		return
	}
	err := w.ready()
	if err == nil {
		if err = w.write(batch); err != nil {
			err = w.fail(err)
		}
	}
	for _, o := range batch {
		switch {
		case o.err != nil: // refused, undone already
		case err != nil:
			w.undo(o)
			o.err = err
		default:
			w.book.committed(&o.change)
			for _, s := range o.change.spools {
				s.committed()
			}
			w.removed(o.change.removed)
		}
		o.done <- o.err
	}
}

// errRefused ends a batch of which an operation is refused.
var errRefused = errors.New("an operation is refused")

// write runs and commits the batch. An error is trouble, and nothing was
// written. It is tried without savepoints first, which cost as much as the
// rows and are needed only if an operation is refused.
func (w *writer) write(batch []*op) error {
	err := w.transact(batch, w.applyPlainly)
	if !errors.Is(err, errRefused) {
		return err
	}
	for _, o := range batch {
		w.undo(o)
		o.change = change{}
	}
	return w.transact(batch, w.apply)
}

// transact runs the operations by apply, in one transaction.
func (w *writer) transact(batch []*op, apply func(*op) error) error {
	if w.prepare != nil {
		if err := w.prepare(w.session); err != nil {
			return err
		}
	}
	if _, err := w.session.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	for _, o := range batch {
		if err := apply(o); err != nil {
			_, _ = w.session.exec(`ROLLBACK`) // SQLite may have done it already
			return err
		}
	}
	if _, err := w.session.exec(`COMMIT`); err != nil {
		_, _ = w.session.exec(`ROLLBACK`)
		// The log may hold the transaction all the same after a crash, so
		// the files it names must stay until the store opens again.
		for _, o := range batch {
			for _, s := range o.change.spools {
				s.keepFile()
			}
		}
		return err
	}
	return nil
}

// applyPlainly runs one operation. An error is trouble, or [errRefused].
func (w *writer) applyPlainly(o *op) error {
	o.change.session = w.session
	err := o.run(&o.change)
	if err != nil && !isTrouble(err) {
		return errRefused
	}
	return err
}

// apply runs one operation in a savepoint. An error is trouble; what refuses
// the operation alone stands in o.err.
func (w *writer) apply(o *op) error {
	o.change.session = w.session
	if _, err := w.session.exec(`SAVEPOINT op`); err != nil {
		return err
	}
	err := o.run(&o.change)
	if isTrouble(err) {
		return err
	}
	if err != nil {
		if _, err := w.session.exec(`ROLLBACK TO op`); err != nil {
			return err
		}
		w.undo(o)
		o.err = err
	}
	_, err = w.session.exec(`RELEASE op`)
	return err
}

// undo takes back what an operation did beside its SQL.
func (w *writer) undo(o *op) {
	w.book.undone(&o.change)
	for _, s := range o.change.spools {
		s.giveBack()
	}
}

// fail stops accepting for the trouble err and plans a probe. It returns what
// callers are told.
func (w *writer) fail(err error) error {
	err = fmt.Errorf("%w: %w", mailflow.ErrNoRoom, err)
	w.trouble.Store(&err)
	if w.pause = 2 * w.pause; w.pause == 0 {
		w.pause = minProbePause
	}
	w.pause = min(w.pause, maxProbePause)
	w.probe = w.after(w.pause)
	return err
}

// tryAgain probes the database and accepts again if that succeeds.
func (w *writer) tryAgain() {
	if err := w.probeOnce(); err != nil {
		_ = w.fail(err)
		return
	}
	w.pause, w.probe = 0, nil
	w.trouble.Store(nil)
}

// probeOnce opens a new connection and commits some pages on it.
func (w *writer) probeOnce() error {
	if w.session != nil {
		_ = w.session.close() // it is in trouble anyway
		w.session = nil
	}
	s, err := openSession(w.ctx, w.file, writerPragmas)
	if err != nil {
		return err
	}
	if err := w.probeOn(s); err != nil {
		return errors.Join(err, s.close())
	}
	w.session = s
	return nil
}

func (w *writer) probeOn(s *session) error {
	if w.prepare != nil {
		if err := w.prepare(s); err != nil {
			return err
		}
	}
	if _, err := s.exec(`INSERT OR REPLACE INTO probe (n, bytes) VALUES (1, zeroblob(?))`, probeBytes); err != nil {
		return err
	}
	_, err := s.exec(`DELETE FROM probe`)
	return err
}

// close ends the goroutine after what waits is written, and the connection.
func (w *writer) close() error {
	close(w.stop)
	<-w.gone
	if w.session == nil {
		return nil
	}
	return w.session.close()
}
