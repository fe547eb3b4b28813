// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// occupy keeps the writer busy until the returned function is called.
func occupy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, free, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) {
			close(busy)
			<-free
			return nil, nil
		})
	}()
	<-busy
	return func() {
		t.Helper()
		close(free)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// waiting waits until n operations wait for the writer.
func waiting(s *Store, n int) {
	for len(s.writer.ops) < n {
		runtime.Gosched()
	}
}

func TestRefusedAlone(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	mustCommit(t, s, "m0", []byte("first"))
	release := occupy(t, s)
	const n = 12
	results := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		d, err := decide(t.Context(), s, fmt.Sprintf("m%d", i), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 1 {
			d.Facts = []mailflow.Fact{{Kind: mailflow.FactAbsent, Key: "k"}, {Kind: mailflow.FactExists, Key: "none"}}
		}
		d.Claimed = []string{d.Deliveries[0].ID}
		wg.Go(func() { results[i] = s.Commit(t.Context(), d) })
	}
	waiting(s, n)
	release()
	wg.Wait()
	for i, err := range results {
		want := error(nil)
		switch {
		case i == 0:
			want = mailflow.ErrDuplicate
		case i%3 == 1:
			want = mailflow.ErrStale
		}
		if !errors.Is(err, want) {
			t.Errorf("commit %d: %v, want %v", i, err, want)
		}
		_, err := s.Message(t.Context(), fmt.Sprintf("m%d", i))
		if kept := err == nil; kept != (want == nil || i == 0) {
			t.Errorf("message %d is kept: %v", i, kept)
		}
	}
	if v, err := s.Version(t.Context(), "k"); err != nil || v != 0 {
		t.Errorf("a refused operation has written a record: %d, %v", v, err)
	}
	// m0 is still free to be claimed, the others are not.
	ds, err := s.ClaimDue(t.Context(), mailflow.Claim{Destination: "server", DueBy: time.Now(), Limit: 99})
	if err != nil || len(ds) != 1 || ds[0].Message != "m0" {
		t.Errorf("claimed %v, %v", ds, err)
	}
}

func TestWithdrawn(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	release := occupy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- commit(ctx, s, "m", []byte("x")) }()
	waiting(s, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	release()
	mustCommit(t, s, "next", []byte("x"))
	if _, err := s.Message(t.Context(), "m"); !errors.Is(err, mailflow.ErrNoRecord) {
		t.Errorf("what was withdrawn is kept: %v", err)
	}
}

// TestTaken holds that what the writer has taken is never answered with an
// ended context.
func TestTaken(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	d, err := decide(ctx, s, "m", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.CommitDecided(ctx, func(mailflow.View) (*mailflow.Decision, error) {
		cancel()
		return d, nil
	})
	if err != nil {
		t.Errorf("CommitDecided: %v", err)
	}
	if _, err := s.Message(t.Context(), "m"); err != nil {
		t.Error(err)
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	err := s.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) { panic("poison") })
	if err == nil || !strings.Contains(err.Error(), "poison") {
		t.Errorf("CommitDecided: %v", err)
	}
	mustCommit(t, s, "next", []byte("x"))
}

func TestCloseWritesWhatWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	release := occupy(t, s)
	const n = 5
	results := make(chan error, n)
	for i := range n {
		go func() { results <- commit(t.Context(), s, fmt.Sprintf("m%d", i), []byte("x")) }()
	}
	waiting(s, n)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for range n {
		if err := <-results; err != nil {
			t.Errorf("commit: %v", err)
		}
	}
	s = start(t, Options{Dir: dir})
	if depth, err := s.Depth(t.Context()); err != nil || depth[mailflow.StateQueued] != n {
		t.Errorf("Depth = %v, %v", depth, err)
	}
}

// disk is a disk that can be made full, and the clock of the probes.
type disk struct {
	pages  atomic.Int64 // 0 = no limit
	pauses chan time.Duration
	tick   chan time.Time
}

func newDisk() *disk {
	return &disk{pauses: make(chan time.Duration, 100), tick: make(chan time.Time)}
}

func (d *disk) options(dir string) Options {
	return Options{
		Dir: dir, Now: time.Now,
		After: func(pause time.Duration) <-chan time.Time {
			d.pauses <- pause
			return d.tick
		},
		prepareWrite: func(s *session) error {
			pages := d.pages.Load()
			if pages == 0 {
				pages = 1 << 30
			}
			_, err := s.exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
			return err
		},
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	d := newDisk()
	s := start(t, d.options(t.TempDir()))
	mustCommit(t, s, "before", []byte("x"))
	d.pages.Store(1) // as many as there are

	var kept []string
	var refused *mailflow.Decision
	for i := 0; refused == nil; i++ {
		next, err := decide(t.Context(), s, fmt.Sprintf("m%d", i), make([]byte, mailflow.MaxInlineBody))
		if err != nil {
			t.Fatal(err)
		}
		next.Claimed = []string{next.Deliveries[0].ID}
		switch err := s.Commit(t.Context(), next); {
		case err == nil:
			kept = append(kept, next.Message.ID)
		case errors.Is(err, mailflow.ErrNoRoom):
			refused = next
		default:
			t.Fatalf("commit on a full disk: %v", err)
		}
		if i > 1000 {
			t.Fatal("the disk never got full")
		}
	}
	if err := s.Ready(t.Context()); !errors.Is(err, mailflow.ErrNoRoom) || !strings.Contains(err.Error(), "full") {
		t.Errorf("Ready on a full disk: %v", err)
	}
	if err := s.Commit(t.Context(), refused); !errors.Is(err, mailflow.ErrNoRoom) {
		t.Errorf("second commit on a full disk: %v", err)
	}
	// Reading goes on.
	for _, id := range append(kept, "before") {
		if _, err := s.Message(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Message(t.Context(), refused.Message.ID); !errors.Is(err, mailflow.ErrNoRecord) {
		t.Errorf("what was refused is kept: %v", err)
	}
	// Probes fail, ever more rarely.
	want := minProbePause
	for range 7 {
		if pause := <-d.pauses; pause != want {
			t.Errorf("pause of %v, want %v", pause, want)
		}
		want = min(2*want, maxProbePause)
		d.tick <- time.Time{}
	}
	if pause := <-d.pauses; pause != maxProbePause {
		t.Errorf("last pause of %v", pause)
	}
	// There is room again.
	d.pages.Store(0)
	d.tick <- time.Time{}
	for s.Ready(t.Context()) != nil {
		runtime.Gosched()
	}
	if err := s.Commit(t.Context(), refused); err != nil {
		t.Errorf("commit of what was refused, with its spool: %v", err)
	}
	if err := checkBody(t.Context(), s, refused.Message.ID, make([]byte, mailflow.MaxInlineBody)); err != nil {
		t.Error(err)
	}
	integrity(t, s)
}

// TestDiskFullTogether holds that all who wait are told.
func TestDiskFullTogether(t *testing.T) {
	t.Parallel()
	d := newDisk()
	s := start(t, d.options(t.TempDir()))
	release := occupy(t, s)
	d.pages.Store(1)
	const n = 10
	results := make(chan error, n)
	for i := range n {
		go func() { results <- commit(t.Context(), s, fmt.Sprintf("m%d", i), make([]byte, mailflow.MaxInlineBody)) }()
	}
	waiting(s, n)
	release()
	for range n {
		if err := <-results; !errors.Is(err, mailflow.ErrNoRoom) {
			t.Errorf("commit: %v", err)
		}
	}
	if depth, err := s.Depth(t.Context()); err != nil || len(depth) != 0 {
		t.Errorf("Depth = %v, %v", depth, err)
	}
	if lanes, err := s.Lanes(t.Context()); err != nil || len(lanes) != 0 {
		t.Errorf("Lanes = %v, %v", lanes, err)
	}
}

func TestCloseWhileFull(t *testing.T) {
	t.Parallel()
	dir, d := t.TempDir(), newDisk()
	s := start(t, d.options(dir))
	d.pages.Store(1)
	if err := commit(t.Context(), s, "m", make([]byte, mailflow.MaxInlineBody)); !errors.Is(err, mailflow.ErrNoRoom) {
		t.Fatalf("commit: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	mustCommit(t, start(t, Options{Dir: dir}), "m", []byte("x"))
}

func TestSpoolCannotWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	if err := os.RemoveAll(filepath.Join(dir, "spool")); err != nil {
		t.Fatal(err)
	}
	if err := commit(t.Context(), s, "m", large("m")); !errors.Is(err, mailflow.ErrNoRoom) {
		t.Errorf("commit of a large message: %v", err)
	}
	mustCommit(t, s, "small", []byte("x"))
}

// integrity checks the database.
func integrity(t *testing.T, s *Store) {
	t.Helper()
	var result string
	if _, err := one(t.Context(), s.readers, []any{&result}, `PRAGMA integrity_check`); err != nil || result != "ok" {
		t.Errorf("integrity_check: %q, %v", result, err)
	}
}
