// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestJournalKeepsTheContract(t *testing.T) {
	mailflowtest.RunStoreSuite(t, func(t *testing.T) mailflow.StoreOpener {
		t.Helper()
		return &Journal{Path: filepath.Join(t.TempDir(), "journal")}
	})
}

// mustOpen opens a store that is closed with the test.
func mustOpen(t *testing.T, dir string) *store {
	t.Helper()
	s, err := open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// commit commits a message with a delivery that has the state st.
func commit(t *testing.T, s *store, id string, st mailflow.State) {
	t.Helper()
	p, err := s.Spool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Discard()
	if _, err := p.Write([]byte("Subject: " + id + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b, err := p.Body()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	err = s.Commit(t.Context(), &mailflow.Decision{
		Message: mailflow.StoredMessage{ID: id}, Spool: p,
		Deliveries: []mailflow.Delivery{{ID: id, Message: id, State: st}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// crashed returns a copy of a store's directory as a crash would leave it.
func crashed(t *testing.T, s *store) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// depth returns how many deliveries a store has.
func depth(s *store) int { return len(s.deliveries) }

// TestTornLine cuts the last line off in many places: what was acknowledged
// before is there, and the store goes on.
func TestTornLine(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	commit(t, s, "first", mailflow.StateQueued)
	before := s.log.size
	commit(t, s, "second", mailflow.StateQueued)
	whole := s.log.size
	dir := crashed(t, s)
	text, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	cuts := []int64{before, before + 1, whole - 2, whole - 1, whole}
	for size := before + 50; size < whole-2; size += 50 {
		cuts = append(cuts, size)
	}
	for _, size := range cuts {
		copied := crashed(t, s)
		torn := append(bytes.Clone(text[:size]), make([]byte, size%3)...) // the disk may leave zeros
		if size == whole {
			torn = text
		}
		if err := os.WriteFile(filepath.Join(copied, "journal"), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := open(copied, time.Now)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", size, whole, err)
		}
		want := 1
		if size == whole {
			want = 2
		}
		files, err := os.ReadDir(filepath.Join(copied, "messages"))
		if depth(again) != want || len(files) != want || err != nil {
			t.Errorf("cut at %d of %d: %d deliveries, %d files: %v", size, whole, depth(again), len(files), err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDamage spoils what was acknowledged: the store says so and is not
// opened, and is not changed either.
func TestDamage(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	commit(t, s, "first", mailflow.StateQueued)
	commit(t, s, "second", mailflow.StateQueued)
	for name, spoil := range map[string]func(dir string) error{
		"line 1": func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, "journal"))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "journal"), append([]byte("x"), text...), 0o600))
		},
		"are gone": func(dir string) error {
			return os.Remove(filepath.Join(dir, "messages", s.messages["first"].File))
		},
		"is damaged": func(dir string) error {
			return os.Truncate(filepath.Join(dir, "messages", s.messages["first"].File), 3)
		},
	} {
		dir := crashed(t, s)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(filepath.Join(dir, "journal"))
		if again, err := open(dir, time.Now); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, again, err)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, "journal")); !bytes.Equal(before, after) {
			t.Errorf("%s: the journal was changed", name)
		}
	}
}

// TestFailedAppend lets a line fail: nothing of it is kept, and the store
// recovers by itself.
func TestFailedAppend(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	commit(t, s, "first", mailflow.StateQueued)
	good := s.log.file
	readOnly, err := os.Open(good.Name()[:len(good.Name())-len(".new")])
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	s.log.file = readOnly
	act := mailflow.QueueAct{Kind: mailflow.ActHold, At: time.Now()}
	if err := s.Act(t.Context(), "first", act); !errors.Is(err, mailflow.ErrNoRoom) {
		t.Errorf("Act: %v, want ErrNoRoom", err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a store that cannot write is ready")
	}
	if st := s.deliveries["first"].State; st != mailflow.StateQueued {
		t.Errorf("after the failure the delivery is %s", st)
	}
	s.log.file = good
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if err := s.Act(t.Context(), "first", act); err != nil {
		t.Errorf("Act: %v", err)
	}
	again := mustOpen(t, crashed(t, s))
	if st := again.deliveries["first"].State; st != mailflow.StateHeld {
		t.Errorf("after opening again the delivery is %s", st)
	}
}

// TestShrink lets the journal grow: it is written anew, without a restart.
func TestShrink(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	commit(t, s, "first", mailflow.StateQueued)
	long := strings.Repeat("x", worthShrinking/8)
	for i := range 20 {
		act := mailflow.QueueAct{Kind: mailflow.ActRetry, Reason: fmt.Sprint(i, long), At: time.Now()}
		if err := s.Act(t.Context(), "first", act); err != nil {
			t.Fatal(err)
		}
	}
	grown := s.log.size
	if _, err := s.Sweep(t.Context(), mailflow.Retention{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if s.log.size >= grown/10 {
		t.Errorf("the journal has %d of %d bytes", s.log.size, grown)
	}
	commit(t, s, "second", mailflow.StateQueued)
	if again := mustOpen(t, crashed(t, s)); depth(again) != 2 {
		t.Errorf("%d deliveries after opening again", depth(again))
	}
}

func TestJournalRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"journal":                     "wrong argument count",
		"journal /a /b":               "wrong argument count",
		"journal /a {\n\tsync off\n}": "unrecognized journal option",
	} {
		err := new(Journal).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := new(Journal).Validate(); err == nil {
		t.Error("a journal without directory is valid")
	}
	if s, err := (&Journal{Path: "{env.UNSET_IN_THIS_TEST}/mail"}).Open(t.Context()); err == nil {
		t.Errorf("a journal in an unknown place was opened: %v", s.Close())
	}
}
