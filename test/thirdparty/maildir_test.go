// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestMaildirKeepsTheContract(t *testing.T) {
	mailflowtest.RunTransportSuite(t, func(t *testing.T) mailflow.Transport {
		t.Helper()
		return &Maildir{Path: filepath.Join(t.TempDir(), "archive")}
	})
}

// files returns the contents below a directory of a Maildir, by name.
func files(t *testing.T, dir, sub string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

func TestMaildir(t *testing.T) {
	t.Setenv("ARCHIVE_OF_TEST", filepath.Join(t.TempDir(), "archive"))
	dir := os.Getenv("ARCHIVE_OF_TEST")
	transport := &Maildir{Path: "{env.ARCHIVE_OF_TEST}"}
	a := mailflowtest.NewAttempt(t, "Subject: Hello\n\nHello.\n",
		mailflowtest.NewEnvelope("anna@example.com", "bob@acme.example", "carol@acme.example"))
	for range 2 { // the second time replaces the first
		if _, err := transport.Deliver(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	want := "Return-Path: <anna@example.com>\r\nDelivered-To: bob@acme.example\r\nDelivered-To: carol@acme.example\r\n" +
		"Subject: Hello\r\n\r\nHello.\r\n"
	if got := files(t, dir, "new"); len(got) != 1 || got[a.Delivery.ID+".mailcaddy"] != want {
		t.Errorf("new has %q, want %q", got, want)
	}
	if got := files(t, dir, "tmp"); len(got) != 0 {
		t.Errorf("tmp has %q", got)
	}
}

func TestMaildirKeepsNothingOfAFailure(t *testing.T) {
	dir := t.TempDir()
	a := mailflowtest.NewAttempt(t, "Subject: Hello\n\nHello.\n", mailflowtest.NewEnvelope("", "bob@acme.example"))
	broken := errors.New("broken")
	a.Content.(*mailflowtest.Content).Fail = broken
	if _, err := (&Maildir{Path: dir}).Deliver(t.Context(), a); !errors.Is(err, broken) {
		t.Errorf("Deliver: %v, want %v", err, broken)
	}
	if n := len(files(t, dir, "new")) + len(files(t, dir, "tmp")); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestMaildirCannotBeReached(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "archive"), "{env.UNSET_IN_THIS_TEST}/archive"} {
		transport := &Maildir{Path: path}
		a := mailflowtest.NewAttempt(t, "Subject: Hello\n\n", mailflowtest.NewEnvelope("", "bob@acme.example"))
		if _, err := transport.Deliver(t.Context(), a); !errors.Is(err, mailflow.ErrUnreachable) {
			t.Errorf("Deliver to %s: %v, want ErrUnreachable", path, err)
		}
		if r := transport.Test(t.Context(), mailflow.Address{}, mailflow.Address{}); r.OK || r.Steps[0].Error == "" || r.Steps[0].Hint == "" {
			t.Errorf("Test of %s: %+v", path, r)
		}
	}
}

func TestMaildirTestLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if r := (&Maildir{Path: dir}).Test(t.Context(), mailflow.Address{}, mailflow.Address{}); !r.OK {
		t.Errorf("Test: %+v", r)
	}
	if n := len(files(t, dir, "new")) + len(files(t, dir, "tmp")); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestMaildirRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"maildir":                        "wrong argument count",
		"maildir /a /b":                  "wrong argument count",
		"maildir /a {\n\tformat mbox\n}": "unrecognized maildir option",
	} {
		err := new(Maildir).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := new(Maildir).Validate(); err == nil {
		t.Error("a Maildir without path is valid")
	}
}
