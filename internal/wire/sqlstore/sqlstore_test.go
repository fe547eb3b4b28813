// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// start opens a store in dir.
func start(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// decide returns a decision about content with one delivery that waits.
func decide(ctx context.Context, s mailflow.Store, id string, content []byte) (*mailflow.Decision, error) {
	spool, err := s.Spool(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := spool.Write(content); err != nil {
		spool.Discard()
		return nil, err
	}
	body, err := spool.Body()
	if err != nil {
		spool.Discard()
		return nil, err
	}
	now := time.Now()
	return &mailflow.Decision{
		Message: mailflow.StoredMessage{ID: id, Received: now, Size: int64(len(content))},
		Spool:   spool,
		Deliveries: []mailflow.Delivery{{
			ID: id + "d", Message: id, Server: "server", Destination: "server",
			State: mailflow.StateQueued, Created: now, Due: now, Expires: now.Add(time.Hour),
		}},
	}, body.Close()
}

// commit commits content under id.
func commit(ctx context.Context, s mailflow.Store, id string, content []byte) error {
	d, err := decide(ctx, s, id, content)
	if err != nil {
		return err
	}
	defer d.Spool.Discard()
	return s.Commit(ctx, d)
}

func mustCommit(t *testing.T, s mailflow.Store, id string, content []byte) {
	t.Helper()
	if err := commit(t.Context(), s, id, content); err != nil {
		t.Fatalf("commit of %s: %v", id, err)
	}
}

// checkBody checks the bytes of a message.
func checkBody(ctx context.Context, s mailflow.Store, id string, want []byte) error {
	body, err := s.Body(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("body of %s has %d bytes, want %d, or other ones", id, len(got), len(want))
	}
	return nil
}

// large returns more bytes than stand beside a row.
func large(seed string) []byte { return bytes.Repeat([]byte(seed+"\r\n"), 1<<16/len(seed)) }

// spoolFiles lists the files of the spool.
func spoolFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "spool", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantBodies counts the files that hold something: those on the shelf do not.
func wantBodies(t *testing.T, dir, when string, want int) {
	t.Helper()
	n := 0
	for _, name := range spoolFiles(t, dir) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 0 {
			n++
		}
	}
	if n != want {
		t.Errorf("%s the spool has %d bodies, want %d", when, n, want)
	}
}

func wantFiles(t *testing.T, dir, when string, want int) {
	t.Helper()
	if names := spoolFiles(t, dir); len(names) != want {
		t.Errorf("%s the spool has %d files, want %d", when, len(names), want)
	}
}

func TestFromEmpty(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "mail")
	s := start(t, Options{Dir: dir})
	for query, want := range map[string]string{
		`PRAGMA journal_mode`: "wal",
		`PRAGMA synchronous`:  "2",
		`PRAGMA auto_vacuum`:  "2",
		`PRAGMA query_only`:   "0",
	} {
		var got string
		err := s.write(t.Context(), 0, func(c *change) error {
			_, err := one(t.Context(), c, []any{&got}, query)
			return err
		})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
	var readOnly int
	if _, err := one(t.Context(), s.readers, []any{&readOnly}, `PRAGMA query_only`); err != nil || readOnly != 1 {
		t.Errorf("readers: query_only is %d: %v", readOnly, err)
	}
	mustCommit(t, s, "m", large("m"))
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may use %s: %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	err := s.write(t.Context(), 0, func(c *change) error {
		_, err := c.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
		return err
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Options{Dir: dir, Now: time.Now})
	if err == nil {
		_ = again.Close()
		t.Fatal("a newer schema was opened")
	}
	for _, part := range []string{"9999", dir, "run the newer program"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %q: %v", part, err)
		}
	}
}

func TestVersionFloor(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"3.51.3": true, "3.51.2": false, "3.52.0": true, "3.9.9": false, "4.0.0": true, "2.99.9": false,
	} {
		err := checkVersion(t.Context(), fixedRow(t, version))
		if (err == nil) != ok {
			t.Errorf("SQLite %s: %v", version, err)
		}
	}
}

// fixedRow returns a querier on which every query returns text.
func fixedRow(t *testing.T, text string) querier {
	t.Helper()
	s, err := openSession(t.Context(), filepath.Join(t.TempDir(), "x.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	stmt, err := s.conn.PrepareContext(t.Context(), `SELECT '`+text+`'`)
	if err != nil {
		t.Fatal(err)
	}
	s.stmts[`SELECT sqlite_version()`] = stmt
	return s
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	mustCommit(t, s, "kept", large("kept"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"00aa": "", "ffbb": "cut of", "00": "x"} {
		if err := os.MkdirAll(filepath.Join(dir, "spool", name[:2]), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "spool", name[:2], name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, dir, "before opening", 4)
	s = start(t, Options{Dir: dir})
	wantFiles(t, dir, "after opening", 1)
	if err := checkBody(t.Context(), s, "kept", large("kept")); err != nil {
		t.Error(err)
	}
}

func TestSpoolFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	d, err := decide(t.Context(), s, "m", large("m"))
	if err != nil {
		t.Fatal(err)
	}
	wantBodies(t, dir, "while a message is decided", 1)
	d.Facts = []mailflow.Fact{{Kind: mailflow.FactExists, Key: "none"}}
	if err := s.Commit(t.Context(), d); !errors.Is(err, mailflow.ErrStale) {
		t.Fatalf("commit: %v", err)
	}
	wantBodies(t, dir, "after a refused commit", 1)
	d.Facts = nil
	if err := s.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	d.Spool.Discard()
	wantBodies(t, dir, "after the commit", 1)

	lost, err := decide(t.Context(), s, "lost", large("lost"))
	if err != nil {
		t.Fatal(err)
	}
	lost.Spool.Discard()
	wantBodies(t, dir, "after another was discarded", 1)
	mustCommit(t, s, "small", make([]byte, mailflow.MaxInlineBody))
	wantBodies(t, dir, "after one that fits its row", 1)

	keep := mailflow.Retention{Failed: time.Hour}
	for _, id := range []string{"md", "smalld"} {
		if err := s.Act(t.Context(), id, mailflow.QueueAct{Kind: mailflow.ActDrop, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(t.Context(), keep, time.Now().Add(2*time.Hour)); err != nil || n != 4 {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	wantBodies(t, dir, "after the sweep", 0)
	var bodies int
	if _, err := one(t.Context(), s.readers, []any{&bodies}, `SELECT count(*) FROM body`); err != nil || bodies != 0 {
		t.Errorf("%d bodies are left: %v", bodies, err)
	}
}

// TestShelf makes spool files ahead, more the more are taken, and leaves none
// behind.
func TestShelf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	for i, want := range []int{1, 3, 3, 7, 7} {
		mustCommit(t, s, fmt.Sprintf("m%d", i), large(fmt.Sprint(i)))
		wantFiles(t, dir, fmt.Sprintf("after %d large messages", i+1), want)
	}
	for i := range 200 {
		mustCommit(t, s, fmt.Sprintf("n%d", i), large(fmt.Sprint(i)))
	}
	if n := len(spoolFiles(t, dir)); n < 205 || n > 205+maxShelf {
		t.Errorf("%d files for 205 large messages", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, "after closing", 205)
}

func TestVacuum(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	for i := range 400 {
		mustCommit(t, s, fmt.Sprintf("m%03d", i), make([]byte, mailflow.MaxInlineBody))
	}
	for i := range 400 {
		if err := s.Act(t.Context(), fmt.Sprintf("m%03dd", i), mailflow.QueueAct{Kind: mailflow.ActDrop, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sweep(t.Context(), mailflow.Retention{Failed: time.Hour}, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	var pages int
	if _, err := one(t.Context(), s.readers, []any{&pages}, `PRAGMA page_count`); err != nil || pages > maxVacuumPages {
		t.Errorf("the database has %d pages after the sweep: %v", pages, err)
	}
	mustCommit(t, s, "after", []byte("x"))
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	noDB := filepath.Join(dir, "broken")
	if err := os.Mkdir(noDB, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(noDB, "mail.db"), bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, noDB} {
		for range 2 { // the first must leave nothing open
			s, err := Open(t.Context(), Options{Dir: path, Now: time.Now})
			if err == nil {
				_ = s.Close()
				t.Errorf("%s was opened", path)
			}
			if err != nil && strings.Contains(err.Error(), "in use") {
				t.Errorf("a failed Open left the lock: %v", err)
			}
		}
	}
}
