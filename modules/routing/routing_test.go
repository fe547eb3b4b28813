// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const mail = `From: "Anna" <anna@sub.bigcustomer.com>
Subject: =?utf-8?q?Caf=C3=A9?=
X-Spam: YES
X-Spam: no
Precedence: bulk

Hello.
`

// services are those of the tests.
func services() *mailflow.Services {
	return &mailflow.Services{
		Hostname: "mx.mycompany.com",
		Servers: []mailflow.Server{
			{Name: "postmark", Priority: 10, FromFilter: []string{"mycompany.com"}},
			{Name: "relay", Priority: 20},
		},
	}
}

// build reads the lines of a route, loads them and compiles them, as the app
// does. The errors are of whichever of these finds one.
func build(t *testing.T, name mailflow.RouteName, s *mailflow.Services, lines string) (mailflow.Route, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser("route {\n" + lines + "\n}")
	d.Next()
	var defs mailroute.Definitions
	steps, err := mailroute.ParseSteps(d, &defs)
	if err != nil {
		return nil, err
	}
	if err := defs.Check(nil); err != nil {
		return nil, err
	}
	// What is adapted is what is loaded: through JSON and back.
	raw, err := json.Marshal(map[string]any{"steps": steps, "matchers": defs.Sets()})
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Steps    []mailroute.Step           `json:"steps"`
		Matchers map[string]caddy.ModuleMap `json:"matchers"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if s.Matchers, err = mailroute.LoadMatchers(ctx, config.Matchers); err != nil {
		return nil, err
	}
	loaded, err := mailroute.LoadSteps(ctx, config.Steps)
	if err != nil {
		return nil, err
	}
	for _, m := range s.Matchers {
		if err := mailroute.UseServices(s, m); err != nil {
			return nil, err
		}
	}
	return mailroute.Compile(s, name, loaded)
}

// mustBuild is build of a route that loads.
func mustBuild(t *testing.T, name mailflow.RouteName, lines string) mailflow.Route {
	t.Helper()
	route, err := build(t, name, services(), lines)
	if err != nil {
		t.Fatalf("%v in %s", err, lines)
	}
	return route
}

// transaction is one about three recipients, of which two are ours.
func transaction(tb testing.TB) *mailflow.Transaction {
	tb.Helper()
	return mailflowtest.NewTransaction(tb, mail,
		mailflowtest.NewEnvelope("anna@bigcustomer.com", "a@mycompany.com", "b@mycompany.com", "c@far.example"))
}

// verdicts says in short what became of the recipients.
func verdicts(tx *mailflow.Transaction) string {
	var all []string
	for _, v := range tx.Verdicts() {
		said := "pending"
		switch {
		case v.Action != nil:
			said = v.Action.String()
		case v.Reply != nil:
			said = v.Reply.String()
		}
		all = append(all, v.Recipient.Address.Local+": "+said)
	}
	return strings.Join(all, " | ")
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		route mailflow.RouteName
		lines string
		want  string
		trace string
	}{
		{mailflow.Inbound, `unrouted`, "a: unrouted: R | b: unrouted: R | c: unrouted: R", "1 unrouted:unrouted"},
		{mailflow.Inbound, `drop`, "a: drop: dropped by the route | b: drop: dropped by the route | c: drop: dropped by the route", "1 drop:dropped"},
		{mailflow.Inbound, "@far rcpt far.example\nreject @far 550 5.7.1 Not here\ndrop not for us", "a: drop: not for us | b: drop: not for us | c: 550 5.7.1 Not here", "1 reject:rejected drop:dropped"},
		{mailflow.Inbound, "reject \"451 4.3.2\" later", "a: 451 4.3.2 later | b: 451 4.3.2 later | c: 451 4.3.2 later", "1 reject:rejected"},
		{mailflow.Inbound, "reject 450 later", "a: 450 4.7.1 later | b: 450 4.7.1 later | c: 450 4.7.1 later", "1 reject:rejected"},
		{mailflow.Inbound, "@x rcpt nobody.example\nreject @x 550 no\nunrouted", "a: unrouted: R | b: unrouted: R | c: unrouted: R", "1 unrouted:unrouted"},
		{mailflow.Outbound, `choose_server`, "a: deliver by relay | b: deliver by relay | c: deliver by relay", "1 choose_server:server_chosen"},
		{mailflow.Outbound, "@far rcpt far.example\ncapture @far test\nchoose_server", "a: deliver by relay | b: deliver by relay | c: capture: test", "1 capture:captured choose_server:server_chosen"},
		{mailflow.Outbound, "hold wait\nchoose_server", "a: hold for relay: wait | b: hold for relay: wait | c: hold for relay: wait", "1 choose_server:server_chosen hold:held"},
		{mailflow.Outbound, "@far rcpt far.example\nhold @far\nchoose_server", "a: deliver by relay | b: deliver by relay | c: hold for relay: held by the route", "1 choose_server:server_chosen hold:held"},
		{mailflow.Inbound, "@far rcpt far.example\n@b rcpt b@mycompany.com\nhold\nreject @far 550 no\ndrop @b", "a: hold: held by the route | b: drop: dropped by the route | c: 550 5.7.1 no", "1 reject:rejected drop:dropped hold:held"},
		{mailflow.Outbound, "hold outer\nhold inner\nchoose_server", "a: hold for relay: inner | b: hold for relay: inner | c: hold for relay: inner", "1 choose_server:server_chosen hold:held"},
		{mailflow.Outbound, "@far rcpt far.example\nhandle @far {\n hold inside\n tag k v\n}\nchoose_server", "a: deliver by relay | b: deliver by relay | c: hold for relay: inside", "1 tag:tagged choose_server:server_chosen hold:held"},
		{mailflow.Inbound, "handle {\n @b rcpt b@mycompany.com\n drop @b\n}\nunrouted", "a: unrouted: R | b: drop: dropped by the route | c: unrouted: R", "1 drop:dropped unrouted:unrouted"},
		{mailflow.Inbound, "reject @later 550 no\n@later rcpt c@far.example", "a: pending | b: pending | c: 550 5.7.1 no", "1 reject:rejected"},
		{mailflow.Inbound, "@x rcpt c@far.example\n@y rcpt b@mycompany.com\nreject @x @y 550 no", "a: pending | b: 550 5.7.1 no | c: 550 5.7.1 no", "1 reject:rejected"},
	} {
		tx := transaction(t)
		tx.Route = c.route
		if err := mustBuild(t, c.route, c.lines).Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Errorf("%s: %v", c.lines, err)
		}
		got := strings.ReplaceAll(verdicts(tx), unroutedReason, "R")
		if got != c.want {
			t.Errorf("%s\ngives %s\nwant  %s", c.lines, got, c.want)
		}
		if got := tx.Trace.Summary(); got != c.trace {
			t.Errorf("%s\ntraces %s\nwant   %s", c.lines, got, c.trace)
		}
	}
}

func TestChooseServer(t *testing.T) {
	t.Parallel()
	from := func(author string) *mailflow.Transaction {
		return mailflowtest.NewTransaction(t, "From: "+author+"\n\n", mailflowtest.NewEnvelope("app@mycompany.com", "c@far.example"))
	}
	tx := from("X <x@mycompany.com>")
	if err := mustBuild(t, mailflow.Outbound, "choose_server").Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	if got := verdicts(tx); got != "c: deliver by postmark" {
		t.Error(got)
	}
	notes := fmt.Sprint(tx.Trace.Notes())
	for _, want := range []string{"later_step relay: another server fits the author more closely", "filter_domain postmark: its from_filter names the author's domain", "server_chosen postmark"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in %s", want, notes)
		}
	}
	if tx = from(""); mustBuild(t, mailflow.Outbound, "choose_server").Run(t.Context(), tx, mailflow.Done) != nil || verdicts(tx) != "c: deliver by postmark" {
		t.Errorf("no From: %s, want what fits the reverse-path", verdicts(tx))
	}
	none := services()
	none.Servers = nil
	route, err := build(t, mailflow.Outbound, none, "choose_server")
	if err != nil {
		t.Fatal(err)
	}
	if tx = from("x@mycompany.com"); route.Run(t.Context(), tx, mailflow.Done) != nil || verdicts(tx) != "c: capture: no outgoing server is configured" {
		t.Errorf("no server: %s", verdicts(tx))
	}
	bad := services()
	bad.Servers[0].FromFilter = []string{"*"}
	if _, err := build(t, mailflow.Outbound, bad, "choose_server"); err == nil || !strings.Contains(err.Error(), "outgoing server postmark: from_filter") {
		t.Errorf("a bad filter gives %v", err)
	}
}

// TestChooseServerPerDomain parts the recipients of a server whose next hop is
// found by their domain.
func TestChooseServerPerDomain(t *testing.T) {
	t.Parallel()
	s := services()
	s.Servers = []mailflow.Server{{Name: "direct", PerDomain: true}}
	route, err := build(t, mailflow.Outbound, s, "choose_server")
	if err != nil {
		t.Fatal(err)
	}
	tx := transaction(t)
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range tx.Verdicts() {
		got = append(got, v.Action.(mailflow.Deliver).Destination)
	}
	if want := []string{"direct/mycompany.com", "direct/mycompany.com", "direct/far.example"}; !slices.Equal(got, want) {
		t.Errorf("destinations %q, want %q", got, want)
	}
}

func TestHeaderAndTag(t *testing.T) {
	t.Setenv("ROUTING_TEST", "from the environment")
	tx := transaction(t)
	route := mustBuild(t, mailflow.Inbound, "tag k {env.ROUTING_TEST}\ntag k2 v\ntag k2 w\nheader X-A some words\nheader +X-B b\nheader ?Date now\nheader -X-C\nunrouted")
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tx.Tags()); got != "map[k:from the environment k2:w]" {
		t.Error(got)
	}
	if got := fmt.Sprint(tx.HeaderChanges()); got != "[{set X-A some words} {add X-B b} {ensure Date now} {remove X-C }]" {
		t.Error(got)
	}
}

// TestNesting looks at the depth of notes: what comes behind a block is not
// within it.
func TestNesting(t *testing.T) {
	t.Parallel()
	tx := transaction(t)
	route := mustBuild(t, mailflow.Inbound, "tag a 0\nhandle {\n tag b 1\n handle {\n  tag c 2\n }\n tag d 1\n}\ntag e 0\nunrouted")
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range tx.Trace.Notes() {
		got = append(got, fmt.Sprintf("%s %s %d", n.Handler, n.Text, n.Depth))
	}
	if s := strings.Join(got, ", "); !strings.HasPrefix(s, "tag a=0 0, tag b=1 1, tag c=2 2, tag d=1 1, tag e=0 0, unrouted") {
		t.Error(s)
	}
}

func TestHandlerContract(t *testing.T) {
	t.Parallel()
	for _, lines := range []string{
		"reject 550 5.7.1 no", "drop", "tag a b", "header X-A b", "hold", "capture", "unrouted", "choose_server",
		"classify", "rewrite_from", "limit", "sign", "bcc archive@mycompany.com",
		"handle {\n @x rcpt sales@mycompany.com\n drop @x\n tag a b\n hold\n}",
	} {
		route := mustBuild(t, "", lines)
		t.Run(route[0].Name, func(t *testing.T) {
			t.Parallel()
			mailflowtest.RunHandlerSuite(t, route[0].Handler)
		})
	}
}
