// SPDX-License-Identifier: Apache-2.0

package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// unmarshal reads "store <line>" as the app does.
func unmarshal(id, text string) (caddyfile.Unmarshaler, error) {
	return caddyfile.UnmarshalModule(func() *caddyfile.Dispenser {
		d := caddyfile.NewTestDispenser("store " + text)
		d.Next() // store
		d.Next() // the module's name
		return d
	}(), id)
}

func TestUnmarshalCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id, text string
		path     string
		err      string
	}{
		{id: "mail.stores.sqlite", text: "sqlite"},
		{id: "mail.stores.sqlite", text: "sqlite /var/mail", path: "/var/mail"},
		{id: "mail.stores.sqlite", text: "sqlite {env.DIR}/mail", path: "{env.DIR}/mail"},
		{id: "mail.stores.sqlite", text: `sqlite ""`, err: "is empty"},
		{id: "mail.stores.sqlite", text: "sqlite /a /b", err: "wrong argument count"},
		{id: "mail.stores.sqlite", text: "sqlite /a {\n\tsync off\n}", err: `unrecognized sqlite store option "sync"`},
		{id: "mail.stores.memory", text: "memory"},
		{id: "mail.stores.memory", text: "memory /a", err: "wrong argument count"},
	} {
		u, err := unmarshal(test.id, test.text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %q", test.text, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if s, ok := u.(*SQLite); ok && s.Path != test.path {
			t.Errorf("%s: path %q, want %q", test.text, s.Path, test.path)
		}
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STORE_TEST_DIR", dir)
	want := "sqlite " + filepath.Join(dir, "new", "mail")
	for _, path := range []string{
		filepath.Join(dir, "new", "mail"),
		filepath.Join(dir, "new", "..", "new", "mail") + "/",
		filepath.Join(dir, "link", "new", "mail"),
		"{env.STORE_TEST_DIR}/link/new/mail",
	} {
		if got := (&SQLite{Path: path}).Identity(); got != want {
			t.Errorf("Identity of %q is %q, want %q", path, got, want)
		}
	}
	if got := new(SQLite).Identity(); !strings.HasSuffix(got, "mail") {
		t.Errorf("Identity without path is %q", got)
	}
	if (&SQLite{Path: dir}).Identity() == (&SQLite{Path: dir + "2"}).Identity() {
		t.Error("two directories have one identity")
	}
}

func TestUnsetPlaceholder(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"{env.STORE_TEST_UNSET}/mail", "{unknown}"} {
		if s, err := (&SQLite{Path: path}).Open(t.Context()); err == nil {
			t.Errorf("%s was opened", path)
			_ = s.Close()
		}
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, opener := range map[string]func(*testing.T) mailflow.StoreOpener{
		"sqlite": func(t *testing.T) mailflow.StoreOpener {
			t.Helper()
			return &SQLite{Path: filepath.Join(t.TempDir(), "new", "mail")}
		},
		"memory": func(*testing.T) mailflow.StoreOpener { return new(Memory) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mailflowtest.StoreSuite{Opener: opener, Volatile: name == "memory"}.Run(t)
		})
	}
}

func TestRegistered(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"mail.stores.sqlite", "mail.stores.memory"} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
}
