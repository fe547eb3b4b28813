// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// watchedDoor is a listener that knows its peers.
type watchedDoor struct {
	receives, submits bool
	users             map[string]mailflow.Peer
}

var errNotHere = errors.New("not here")

func (d *watchedDoor) Introduce(p *mailflow.Peer) error {
	if p.Submits && !d.submits || !p.Submits && !d.receives {
		return errNotHere
	}
	if p.User == "" {
		return nil
	}
	u, ok := d.users[p.User]
	if !ok {
		return errNotHere
	}
	p.Domain, p.FromFilter, p.Purpose = u.Domain, u.FromFilter, u.Purpose
	return nil
}

const brought = "Return-Path: <back@b.example>\nFrom: Ann <ann@a.example>\n\nHé\n"

// TestQuestion makes questions of inquiries.
func TestQuestion(t *testing.T) {
	t.Parallel()
	app := &App{listeners: map[string]any{
		"plain": &fakeListener{},
		"in":    &watchedDoor{receives: true},
		"out": &watchedDoor{submits: true, users: map[string]mailflow.Peer{
			"app": {Domain: "a.example", FromFilter: []string{"*"}, Purpose: "mass"},
		}},
	}}
	none, bounce := "<>", "bounce@c.example"
	for name, c := range map[string]struct {
		q     inquiry
		peer  mailflow.Peer
		from  string
		rcpt  []string
		fails string
	}{
		"a stranger": {
			q: inquiry{Message: brought}, from: "back@b.example",
			peer: mailflow.Peer{Listener: "in", Protocol: "ESMTP"},
		},
		"an application": {
			q: inquiry{Message: brought, Out: true, Rcpt: []string{"x@y.example", "X@Y.example"}, From: &bounce, IP: "::ffff:10.0.0.1"},
			peer: mailflow.Peer{
				Listener: "out", Protocol: "ESMTP", Submits: true, IP: netip.MustParseAddr("10.0.0.1"),
			},
			from: "bounce@c.example", rcpt: []string{"x@y.example"},
		},
		"a user": {
			q: inquiry{Base64: []byte("From: ann@a.example\n\nx\n"), User: "app", From: &none},
			peer: mailflow.Peer{
				Listener: "out", Protocol: "ESMTPSA", User: "app", Submits: true,
				Domain: "a.example", FromFilter: []string{"*"}, Purpose: "mass",
			},
		},
		"at a listener": {
			q: inquiry{Message: "From: ann@a.example\n\nx\n", Out: true, Listener: "plain"}, from: "ann@a.example",
			peer: mailflow.Peer{Listener: "plain", Protocol: "ESMTP", Submits: true},
		},
		"null Return-Path":  {q: inquiry{Message: "Return-Path: <>\n" + brought[30:]}, peer: mailflow.Peer{Listener: "in", Protocol: "ESMTP"}},
		"no listener":       {q: inquiry{Message: brought, Listener: "x"}, fails: "there is no listener x; there are: in, out, plain"},
		"wrong listener":    {q: inquiry{Message: brought, Listener: "in", Out: true}, fails: "listener in: not here"},
		"no user":           {q: inquiry{Message: brought, User: "eve"}, fails: "listener out: not here"},
		"no users there":    {q: inquiry{Message: brought, User: "app", Listener: "plain"}, fails: "listener plain: it does not say who its users are"},
		"no message":        {q: inquiry{}, fails: "no message to explain"},
		"two messages":      {q: inquiry{Message: "a", Base64: []byte("b")}, fails: "there twice"},
		"too long":          {q: inquiry{Base64: make([]byte, maxExplained+1)}, fails: "longer than"},
		"bad sender":        {q: inquiry{Message: "a", From: new("a@")}, fails: `sender "a@": not a mail address`},
		"bad recipient":     {q: inquiry{Message: "a", Rcpt: []string{"b@"}}, fails: `recipient "b@": not a mail address`},
		"nobody to be told": {q: inquiry{Message: "a", Rcpt: []string{""}}, fails: `recipient "": not a mail address`},
		"bad ip":            {q: inquiry{Message: "a", IP: "here"}, fails: `ip "here"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := app.question(&c.q)
			checkError(t, err, c.fails)
			if err != nil {
				return
			}
			if diff := cmp.Diff(c.peer, got.Peer, cmpopts.EquateComparable(c.peer.IP)); diff != "" {
				t.Errorf("peer (-want +got):\n%s", diff)
			}
			if from := got.Envelope.From.String(); from != c.from {
				t.Errorf("from %q, want %q", from, c.from)
			}
			if diff := cmp.Diff(c.rcpt, addressTexts(got.Envelope.Recipients), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			text, err := io.ReadAll(got.Content)
			if err != nil || strings.Count(string(text), "\n") != strings.Count(string(text), "\r\n") {
				t.Errorf("content %q, %v", text, err)
			}
		})
	}
}

// TestQuestionWithoutDoors asks a gateway that has none.
func TestQuestionWithoutDoors(t *testing.T) {
	t.Parallel()
	got, err := new(App).question(&inquiry{Message: brought, Out: true, User: "app"})
	if err != nil || got.Peer.Listener != "" || !got.Peer.Submits || got.Peer.User != "app" {
		t.Errorf("peer %+v, %v", got.Peer, err)
	}
}

func TestMailConfig(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"apps": {"mail": {"hostname": "a"}, "http": {}}}`: `{"hostname": "a"}`,
		`{"hostname": "a"}`:        `{"hostname": "a"}`,
		`{}`:                       `{}`,
		`{"apps": {"http": {}}}`:   "",
		`{"admin": {}}`:            "",
		`{"apps": 1}`:              "",
		`[]`:                       "",
		`mail { }`:                 "",
		`{"apps": {"mail": null}}`: `null`,
	} {
		got, err := mailConfig(json.RawMessage(in))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

const explained = `{
	"domains": {"a.example": {}}, "behavior": "odoo", "store": {"module": "sqlite", "path": "elsewhere"},
	"outgoing": {"relay": {"via": {"transport": "smtp", "address": "127.0.0.1:25", "tls": "off"}}},
	"listeners": {"in": {"protocol": "smtp", "listen": ["127.0.0.1:25"]}}
}`

// TestExplainBy explains by a configuration while another one is loaded, which
// must not notice. Caddy's context is one for the process, so this test takes
// its turn.
func TestExplainBy(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	base, err := caddy.ProvisionContext(&caddy.Config{
		AppsRaw: caddy.ModuleMap{"mail": json.RawMessage(`{"hostname": "running.example"}`)},
		Admin:   &caddy.AdminConfig{Disabled: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := base.App("mail")
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(engine.Options{Now: time.Now})
	for name, c := range map[string]struct{ config, fails string }{
		"an app":             {config: explained},
		"a whole one":        {config: `{"apps": {"mail": ` + explained + `, "http": {"nonsense": true}}}`},
		"unknown option":     {config: `{"hostnam": "a"}`, fails: `the configuration to explain by is refused: decoding: json: unknown field "hostnam"`},
		"unknown handler":    {config: `{"routes": {"outbound": [{"handle": {"handler": "nope"}}]}}`, fails: "mail.handlers.nope"},
		"refused value":      {config: `{"behavior": "odo"}`, fails: `did you mean "odoo"?`},
		"refused by a check": {config: `{"grace_period": -1}`, fails: "grace_period is negative"},
		"no mail":            {config: `{"apps": {"http": {}}}`, fails: "no mail block to explain by"},
	} {
		x, err := explainBy(t.Context(), base, eng, &inquiry{
			Config: json.RawMessage(c.config), Out: true, Message: brought, Rcpt: []string{"bob@b.example"},
		})
		if err != nil || c.fails != "" {
			checkError(t, err, c.fails)
		} else if len(x.Deliveries) != 1 || x.Deliveries[0].Server != "relay" || len(x.Unknown) != 1 {
			t.Errorf("%s: %+v", name, x)
		}
		after, err := base.App("mail")
		if err != nil || after != before {
			t.Fatalf("%s: the loaded app is %p now, was %p; %v", name, after, before, err)
		}
	}
	if base.Err() != nil {
		t.Errorf("the loaded configuration has ended: %v", base.Err())
	}
}

// TestAdminExplain sends requests while no configuration runs.
func TestAdminExplain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"nothing runs":     {`{"message": "From: a@b.example\n\nx"}`, 503, "not running; load a configuration that has a mail block, or send one along"},
		"no JSON":          {`From: a`, 400, `the body is no JSON object such as {\"out\"`},
		"unknown argument": {`{"mesage": "x"}`, 400, `unknown field \"mesage\"`},
		"bad base64":       {`{"message_base64": "*"}`, 400, "base64"},
		"huge":             {`{"message": "` + strings.Repeat("x", maxInquiry) + `"}`, 413, "longer than"},
	} {
		status, text := call(t, newFakeOperator(), httptest.NewRequest(http.MethodPost, "/mail/explain", strings.NewReader(c.body)))
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s\nwant %d …%s…", name, status, text, c.status, c.want)
		}
	}
}

// answering is an admin API that keeps what it is asked to explain.
func answering(asked *inquiry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := readInquiry(r.Body)
		if err != nil || r.URL.Path != "/mail/explain" {
			http.Error(w, `{"error": "bad request"}`, http.StatusBadRequest)
			return
		}
		*asked = *q
		_ = reply(w, http.StatusOK, engine.Explanation{From: "ann@a.example", Subject: "Hi", Size: 3})
	})
}

// TestExplainCommand asks a gateway.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mail, config, empty := filepath.Join(dir, "mail.eml"), filepath.Join(dir, "new.json"), filepath.Join(dir, "empty.json")
	for file, text := range map[string]string{
		mail: brought, config: `{"apps": {"mail": {"hostname": "x"}, "pki": {}}}`, empty: `{"apps": {}}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	null := ""
	for name, c := range map[string]struct {
		args, stdin string
		want        *inquiry
		prints      string
		fails       string
	}{
		"a file":  {args: mail, want: &inquiry{Base64: []byte(brought)}, prints: "From ann@a.example, subject Hi, 3 bytes\n"},
		"as JSON": {args: "--json " + mail, want: &inquiry{Base64: []byte(brought)}, prints: `"subject": "Hi"`},
		"all flags": {
			args: "--out --from= --rcpt x@y.example --rcpt z@y.example --user app --listener out --ip ::1 -", stdin: "\xff\r\n",
			want: &inquiry{
				Out: true, From: &null, Rcpt: []string{"x@y.example", "z@y.example"}, User: "app", Listener: "out",
				IP: "::1", Base64: []byte("\xff\r\n"),
			},
		},
		"a configuration":      {args: "-c " + config + " " + mail, want: &inquiry{Base64: []byte(brought), Config: json.RawMessage(`{"hostname":"x"}`)}},
		"without mail":         {args: "-c " + empty + " " + mail, fails: "empty.json: the configuration has no mail block to explain by"},
		"no configuration":     {args: "-c none " + mail, fails: "reading the configuration to explain by: "},
		"twice standard input": {args: "-c - -", fails: "cannot both come from standard input"},
		"no file":              {args: "none.eml", fails: "none.eml"},
		"no message":           {args: "-", fails: "there is no message to explain"},
		"nothing":              {args: "", fails: "accepts 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked inquiry
			out, err := runCommand(t, answering(&asked), c.stdin, append([]string{"explain"}, strings.Fields(c.args)...)...)
			checkError(t, err, c.fails)
			if !strings.Contains(out, c.prints) {
				t.Errorf("printed %q, want %q", out, c.prints)
			}
			if c.want == nil {
				return
			}
			if diff := cmp.Diff(*c.want, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExplainCommandAlone explains where no gateway answers. It takes its turn
// with the tests that use Caddy's context.
func TestExplainCommandAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	const nobody = "--address 127.0.0.1:1 "
	ask := func(args string) (string, error) {
		return runCommand(t, http.NotFoundHandler(), brought, append([]string{"explain"}, strings.Fields(nobody+args)...)...)
	}
	_, err := ask("--out --rcpt bob@b.example -")
	checkError(t, err, "no gateway answers at 127.0.0.1:1; start one")

	if err := os.WriteFile("new.json", []byte(`{"apps": {"mail": `+explained+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := ask("--out --rcpt bob@b.example --config new.json -")
	checkError(t, err, "")
	for _, want := range []string{
		"\nOutbound route, for a.example, transactional\n", "    → server_chosen: relay\n",
		"    bob@b.example: deliver by relay (by choose_server)\n", "\nDelivery: queued for relay\n",
		"  RCPT TO:<bob@b.example>\n", "  - No gateway answers at 127.0.0.1:1: this is by new.json alone.\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("printed\n%s\nwithout %q", out, want)
		}
	}

	if err := os.WriteFile("Caddyfile", []byte("{\n\tmail {\n\t\tdomane a.example\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ask("--out -")
	checkError(t, err, "Caddyfile:3")
}
