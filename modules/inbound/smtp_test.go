// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// newDoor makes a door of Caddyfile text, as the app does.
func newDoor(t *testing.T, text string) *SMTP {
	t.Helper()
	s, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// load reads, provisions and validates a door.
func load(t *testing.T, text string) (*SMTP, error) {
	t.Helper()
	var module interface {
		caddyfile.Unmarshaler
		caddy.Provisioner
		caddy.Validator
	}
	s := new(SMTP)
	if module = s; strings.HasPrefix(text, "lmtp") {
		l := new(LMTP)
		s, module = &l.SMTP, l
	}
	if err := module.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := module.Provision(ctx); err != nil {
		return nil, err
	}
	if err := module.Validate(); err != nil {
		return nil, err
	}
	services := &mailflow.Services{Hostname: "mx.example", Domains: mailflow.Domains{{Name: "a.example", Default: true}}}
	if strings.Contains(text, "b.example") {
		services.Domains = append(services.Domains, mailflow.Domain{Name: "b.example"})
	}
	return s, s.UseServices(services)
}

// serve runs a door on a socket of its own, and returns its address.
func serve(t *testing.T, s *SMTP, gate *mailflowtest.Gate) string {
	t.Helper()
	return serveOn(t, "tcp", "127.0.0.1:0", s, gate)
}

// serveOn is serve on a socket of that kind and address.
func serveOn(t *testing.T, network, address string, s *SMTP, gate *mailflowtest.Gate) string {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx, ln, gate); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// TestDialogues plays the files of testdata against doors. A file begins with
// the door's Caddyfile up to a line "--". Then come lines to send (C:) and
// to expect (S:), in which "*" at the end stands for any rest; "C~" sends
// without a line end, with Go's escapes; "END" expects the connection closed.
// "MAILS" and what follows are the mails that were committed.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.dialogue")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialogue"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, script, ok := strings.Cut(string(text), "\n--\n")
			if !ok {
				t.Fatal("no door")
			}
			play(t, newDoor(t, config), script)
		})
	}
}

func play(t *testing.T, door *SMTP, script string) {
	t.Helper()
	gate := new(mailflowtest.Gate)
	gate.SetCurrent(door)
	script, want, checked := strings.Cut(script, "\nMAILS\n")
	dial(t, serve(t, door, gate)).talk(script)
	if got := mails(gate); checked && got != want {
		t.Errorf("mails:\n%swant:\n%s", got, want)
	}
}
