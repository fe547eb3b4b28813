// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// content is a message for tests.
type content string

func (c content) Size() int64    { return int64(len(c)) }
func (content) EightBit() bool   { return false }
func (content) UTF8Header() bool { return false }

func (c content) Open(context.Context, mailflow.Encoding) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(c))), nil
}

func attempt(rcpts ...string) *mailflow.Attempt {
	a := &mailflow.Attempt{
		Delivery: &mailflow.Delivery{Envelope: mailflow.Envelope{From: mailflow.MustParseAddress("a@a.example")}},
		Content:  content("Subject: test\r\n\r\nbody\r\n"),
	}
	for _, r := range rcpts {
		a.Delivery.Envelope.Recipients = append(a.Delivery.Envelope.Recipients, mailflow.Recipient{Address: mailflow.MustParseAddress(r)})
	}
	return a
}

// load makes the module that a Caddyfile segment names, as the app does.
func load(t *testing.T, segment string) (mailflow.Transport, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser(segment)
	d.Next()
	name := d.Val()
	guest, err := caddyfile.UnmarshalModule(d, "mail.transports."+name)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(guest)
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("mail.transports."+name, config)
	if err != nil {
		return nil, err
	}
	if c, ok := module.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	if u, ok := module.(mailflow.ServicesUser); ok {
		if err := u.UseServices(&mailflow.Services{Hostname: "gate.example"}); err != nil {
			return nil, err
		}
	}
	return module.(mailflow.Transport), nil
}

func mustLoad(t *testing.T, segment string) mailflow.Transport {
	t.Helper()
	tr, err := load(t, segment)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// states are the results in short.
func states(results []mailflow.Result, err error) []string {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	var lines []string
	for _, r := range results {
		lines = append(lines, fmt.Sprintf("%s %s %s", r.Recipient.Address, r.State, r.Reply))
	}
	return lines
}

func TestDeliver(t *testing.T) {
	relay := &mailflowtest.Relay{Users: map[string]string{"anna": "secret"}}
	unix := &mailflowtest.Relay{LMTP: true, Unix: filepath.Join(t.TempDir(), "s")}
	t.Setenv("RELAY", relay.Start(t))
	t.Setenv("RELAY_PASSWORD", "secret")
	sent := []string{"b@b.example sent 250 2.0.0 taken"}
	tests := []struct {
		name, segment string
		want          []string
	}{
		{"smtp", "smtp {env.RELAY}", sent},
		{"login", "smtp {env.RELAY} {\n auth login anna {env.RELAY_PASSWORD}\n}", sent},
		{"lmtp", "lmtp unix/" + unix.Start(t), sent},
		{"capture", "capture", []string{"b@b.example captured 250 2.0.0 captured, not sent"}},
		{"wrong password", "smtp {env.RELAY} {\n auth plain anna wrong\n}", []string{
			"error: logging in: server answered 535 5.7.8 authentication failed",
		}},
		{"unset password", "smtp {env.RELAY} {\n auth plain anna {env.RELAY_NO}\n}", []string{
			"error: server cannot be reached: reading the password: evaluated placeholder {env.RELAY_NO} is empty: set the variable or the file that it names",
		}},
		{"unset address", "smtp {env.RELAY_NO}:25", []string{
			"error: server cannot be reached: reading the server address: evaluated placeholder {env.RELAY_NO} is empty: set the variable or the file that it names",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results, err := mustLoad(t, tt.segment).Deliver(t.Context(), attempt("b@b.example"))
			if diff := cmp.Diff(tt.want, states(results, err)); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if err != nil && !errors.Is(err, mailflow.ErrUnreachable) {
				t.Errorf("%v does not say that the server cannot be reached", err)
			}
		})
	}
	if got := relay.Messages()[1].User; got != "anna" {
		t.Errorf("second mail came from user %q", got)
	}
	if got := relay.Commands()[0]; got != "EHLO gate.example" {
		t.Errorf("hello was %q", got)
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	l := &Login{Mechanism: "plain", User: "anna", Password: "secret"}
	enc := zapcore.NewMapObjectEncoder()
	if err := l.MarshalLogObject(enc); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s", *l, *l, *l, l.Password), fmt.Sprint(enc.Fields)} {
		if strings.Contains(shown, "secret") {
			t.Errorf("%s shows the password", shown)
		}
	}
	if got, err := json.Marshal(l.Password); err != nil || string(got) != `"secret"` {
		t.Errorf("JSON %s, %v", got, err)
	}
}
