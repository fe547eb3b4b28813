// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestMXCaddyfile(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]string{"mx": `{}`, "mx {\n port 2525\n}": `{"port":2525}`} {
		d := caddyfile.NewTestDispenser(segment)
		d.Next()
		guest, err := caddyfile.UnmarshalModule(d, "mail.transports.mx")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(guest); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", segment, got, err)
		}
	}
	for segment, want := range map[string]string{
		"mx example.com":     "wrong argument count",
		"mx {\n port 0\n}":   "option port: 0 is not between 1 and 65535, at Testfile:2",
		"mx {\n prot 25\n}":  `unrecognized mx option "prot"; did you mean "port"?, at Testfile:2`,
		"mx {\n tls off\n}":  `unrecognized mx option "tls"`,
		"mx {\n port 1 2\n}": "wrong argument count",
	} {
		if _, err := load(t, segment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", segment, err, want)
		}
	}
	if err := (&MX{Port: 65536}).Validate(); err == nil {
		t.Error("port 65536 is taken")
	}
	if _, err := load(t, "mx"); err == nil || !strings.Contains(err.Error(), "needs a resolver") {
		t.Errorf("without a resolver: %v", err)
	}
}

// errServfail is a look-up that cannot be answered now.
var errServfail = errors.New("name server answered SERVFAIL")

// outcome is what a test expects: the results in short, and who got the mail.
type outcome struct {
	results []string // of states
	got     []string // addresses of the relays that took it
}

// TestMXHosts goes through whom mail is handed to.
func TestMXHosts(t *testing.T) {
	t.Parallel()
	say := func(stage mailflowtest.RelayStage, line string) *mailflowtest.Relay {
		return &mailflowtest.Relay{Script: mailflowtest.RelayAt(stage, mailflowtest.RelaySay(line))}
	}
	good := func() *mailflowtest.Relay { return &mailflowtest.Relay{} }
	const sent = "b@b.example sent 250 2.0.0 taken"
	two := map[string][]string{
		"b.example MX": {"20 mx2.b.example", "10 mx1.b.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"},
	}
	type relays = map[string]*mailflowtest.Relay
	tests := []struct {
		name   string
		zone   map[string][]string
		errors map[string]error
		relays relays
		want   outcome
	}{
		{name: "lowest preference", zone: two, relays: relays{"192.0.2.1": good(), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.1"}}},
		{name: "first is down", zone: two, relays: relays{"192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "several addresses", zone: map[string][]string{
			"b.example MX": {"10 mx.b.example"}, "mx.b.example IP": {"2001:db8::1", "192.0.2.1", "192.0.2.2"},
		}, relays: relays{"192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "no MX, address of the domain", zone: map[string][]string{"b.example IP": {"2001:db8::1", "192.0.2.1"}}, relays: relays{"2001:db8::1": good()}, want: outcome{[]string{sent}, []string{"2001:db8::1"}}},
		{name: "null MX", zone: map[string][]string{"b.example MX": {"0 ."}, "b.example IP": {"192.0.2.1"}}, relays: relays{"192.0.2.1": good()}, want: outcome{
			results: []string{"error: 556 5.1.10 Domain does not accept mail"},
		}},
		{name: "no such domain", want: outcome{results: []string{"error: 550 5.1.2 Domain not found: looking up b.example IP: no such DNS record"}}},
		{name: "hosts do not exist", zone: map[string][]string{"b.example MX": {"10 mx1.b.example", "20 mx2.b.example"}, "b.example IP": {"192.0.2.1"}}, want: outcome{
			results: []string{"error: 550 5.4.4 No mail host of the domain exists: looking up mx1.b.example IP: no such DNS record; looking up mx2.b.example IP: no such DNS record"},
		}},
		{name: "one host does not exist", zone: map[string][]string{"b.example MX": {"10 mx1.b.example", "20 mx2.b.example"}, "mx2.b.example IP": {"192.0.2.2"}}, relays: relays{"192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "MX cannot be known", errors: map[string]error{"b.example MX": errServfail}, want: outcome{
			results: []string{"error: server cannot be reached: looking up b.example MX: name server answered SERVFAIL"},
		}},
		{name: "a host cannot be known, the other does not exist", zone: two, errors: map[string]error{"mx1.b.example IP": errServfail, "mx2.b.example IP": mailflow.ErrNotFound}, want: outcome{
			results: []string{"error: server cannot be reached: no host of b.example can be used: looking up mx1.b.example IP: name server answered SERVFAIL; looking up mx2.b.example IP: no such DNS record"},
		}},
		{name: "nobody listens", zone: map[string][]string{"b.example IP": {"192.0.2.1"}}, want: outcome{
			results: []string{"error: server cannot be reached: no host of b.example can be used: host b.example: connecting: dial tcp: connection refused"},
		}},
		{name: "greeting defers", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayGreeting, "421 4.3.2 later"), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "greeting refuses", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayGreeting, "554 no"), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "all greetings defer", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayGreeting, "421 later"), "192.0.2.2": say(mailflowtest.RelayGreeting, "421 later")}, want: outcome{
			results: []string{"error: server cannot be reached: no host of b.example can be used: host mx1.b.example: connecting: server answered 421 later; host mx2.b.example: connecting: server answered 421 later"},
		}},
		{name: "MAIL deferred", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayMail, "451 4.7.1 later"), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "RCPT deferred", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayRcpt, "451 4.7.1 greylisted"), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "content deferred", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayFinal, "452 4.3.1 full"), "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "MAIL refused", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayMail, "550 5.7.1 no"), "192.0.2.2": good()}, want: outcome{results: []string{"b@b.example failed 550 5.7.1 no"}}},
		{name: "RCPT refused", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayRcpt, "550 5.1.1 nobody"), "192.0.2.2": good()}, want: outcome{results: []string{"b@b.example failed 550 5.1.1 nobody"}}},
		{name: "deferred, then down", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayRcpt, "451 4.7.1 greylisted")}, want: outcome{results: []string{"b@b.example deferred 451 4.7.1 greylisted"}}},
		{name: "deferred, then refused", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayRcpt, "451 4.7.1 greylisted"), "192.0.2.2": say(mailflowtest.RelayMail, "550 5.7.1 no")}, want: outcome{results: []string{"b@b.example failed 550 5.7.1 no"}}},
		{name: "reset before the content", zone: two, relays: relays{"192.0.2.1": {Script: mailflowtest.RelayAt(mailflowtest.RelayMail, mailflowtest.RelayCut())}, "192.0.2.2": good()}, want: outcome{[]string{sent}, []string{"192.0.2.2"}}},
		{name: "we are the first", zone: map[string][]string{"b.example MX": {"10 gate.example", "20 mx2.b.example"}, "mx2.b.example IP": {"192.0.2.2"}}, relays: relays{"192.0.2.2": good()}, want: outcome{
			results: []string{"error: 554 5.4.6 Mail for the domain would loop back to this server"},
		}},
		{name: "we are the domain itself", zone: map[string][]string{"gate.example IP": {"192.0.2.1"}, "b.example MX": {"0 GATE.example"}}, relays: relays{"192.0.2.1": good()}, want: outcome{
			results: []string{"error: 554 5.4.6 Mail for the domain would loop back to this server"},
		}},
		{name: "we stand behind a host that is down", zone: map[string][]string{"b.example MX": {"10 mx1.b.example", "20 gate.example", "30 mx2.b.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"}}, relays: relays{"192.0.2.2": good()}, want: outcome{
			results: []string{"error: server cannot be reached: no host of b.example can be used: host mx1.b.example: connecting: dial tcp: connection refused"},
		}},
		{name: "a host answers by our name", zone: two, relays: relays{"192.0.2.1": say(mailflowtest.RelayHello, "250 Gate.Example"), "192.0.2.2": good()}, want: outcome{
			results: []string{"error: 554 5.4.6 Mail for the domain would loop back to this server: host is this gateway"},
		}},
		{name: "loopback", zone: map[string][]string{"b.example MX": {"10 mx1.b.example"}, "mx1.b.example IP": {"127.0.0.1", "::1"}}, relays: relays{"127.0.0.1": good()}, want: outcome{
			results: []string{"error: 554 5.4.6 Mail for the domain would loop back to this server: host is this gateway"},
		}},
		{name: "loopback and a host", zone: map[string][]string{"b.example IP": {"127.0.0.1", "192.0.2.1"}}, relays: relays{"127.0.0.1": good(), "192.0.2.1": good()}, want: outcome{[]string{sent}, []string{"192.0.2.1"}}},
		{name: "the second host answers by our name", zone: two, relays: relays{"192.0.2.2": say(mailflowtest.RelayHello, "250 gate.example")}, want: outcome{
			results: []string{"error: server cannot be reached: no host of b.example can be used: host mx1.b.example: connecting: dial tcp: connection refused"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.zone, tt.relays)
			w.Errors = tt.errors
			results, err := w.transport(t).Deliver(t.Context(), attempt("b@b.example"))
			got := outcome{results: states(results, err)}
			for ip, relay := range tt.relays {
				if len(relay.Messages()) > 0 {
					got.got = append(got.got, ip)
				}
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			var reply *mailflow.Reply
			if err != nil && errors.As(err, &reply) == errors.Is(err, mailflow.ErrUnreachable) {
				t.Errorf("%v is both or neither of an answer and unreachable", err)
			}
		})
	}
}

// TestMXMany tries no more than some hosts and addresses.
func TestMXMany(t *testing.T) {
	t.Parallel()
	zone := make(map[string][]string)
	for i := range 100 {
		host := fmt.Sprintf("mx%d.b.example", i)
		zone["b.example MX"] = append(zone["b.example MX"], "10 "+host)
		for n := range 50 {
			zone[host+" IP"] = append(zone[host+" IP"], fmt.Sprintf("192.0.2.%d", n))
		}
	}
	w := newWorld(t, zone, nil)
	if _, err := w.transport(t).Deliver(t.Context(), attempt("b@b.example")); !errors.Is(err, mailflow.ErrUnreachable) {
		t.Error(err)
	}
	if got := w.tried.Load(); got != 20 {
		t.Errorf("%d connections were tried", got)
	}
}

// TestMXDeferredEverywhere asks no more than two hosts.
func TestMXDeferredEverywhere(t *testing.T) {
	t.Parallel()
	zone := map[string][]string{"b.example MX": {"10 mx1.b.example", "20 mx2.b.example", "30 mx3.b.example"}}
	relays := make(map[string]*mailflowtest.Relay)
	for i := range 3 {
		ip := fmt.Sprintf("192.0.2.%d", i+1)
		zone[fmt.Sprintf("mx%d.b.example IP", i+1)] = []string{ip}
		relays[ip] = &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayMail, mailflowtest.RelaySay("451 4.7.1 from "+ip))}
	}
	results, err := newWorld(t, zone, relays).transport(t).Deliver(t.Context(), attempt("b@b.example"))
	if diff := cmp.Diff([]string{"b@b.example deferred 451 4.7.1 from 192.0.2.2"}, states(results, err)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got := relays["192.0.2.3"].Connections(); got != 0 {
		t.Errorf("the third host was asked %d times", got)
	}
}

// TestMXParted hands each recipient to the host that takes it, and none twice.
func TestMXParted(t *testing.T) {
	t.Parallel()
	first := &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		if e.Stage != mailflowtest.RelayRcpt {
			return nil
		}
		switch {
		case strings.Contains(e.Line, "later"):
			return mailflowtest.RelaySay("451 4.2.1 later")
		case strings.Contains(e.Line, "never"):
			return mailflowtest.RelaySay("550 5.1.1 never")
		}
		return nil
	}}
	second := &mailflowtest.Relay{}
	w := newWorld(t, map[string][]string{
		"b.example MX": {"10 mx1.b.example", "20 mx2.b.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": first, "192.0.2.2": second})
	results, err := w.transport(t).Deliver(t.Context(), attempt("now@b.example", "never@b.example", "later@b.example"))
	want := []string{"now@b.example sent 250 2.0.0 taken", "never@b.example failed 550 5.1.1 never", "later@b.example sent 250 2.0.0 taken"}
	if diff := cmp.Diff(want, states(results, err)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"<later@b.example>"}, second.Messages()[0].Rcpt); diff != "" {
		t.Errorf("the second host (-want +got):\n%s", diff)
	}
}

// TestMXOutcomeUnknown does not double a mail whose reply was lost.
func TestMXOutcomeUnknown(t *testing.T) {
	t.Parallel()
	first := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayFinal, mailflowtest.RelayCut())}
	second := &mailflowtest.Relay{}
	w := newWorld(t, map[string][]string{
		"b.example MX": {"10 mx1.b.example", "20 mx2.b.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": first, "192.0.2.2": second})
	_, err := w.transport(t).Deliver(t.Context(), attempt("b@b.example"))
	if err == nil || !strings.Contains(err.Error(), "sending to the hosts of b.example: waiting for the reply to the content") || errors.Is(err, mailflow.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if got := second.Connections(); got != 0 {
		t.Errorf("the second host was asked %d times", got)
	}
}

// TestMXDomains is safe when recipients of several domains come together.
func TestMXDomains(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{}
	w := newWorld(t, map[string][]string{
		"b.example IP": {"192.0.2.1"}, "c.example MX": {"0 ."}, "d.example IP": {"192.0.2.9"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": relay, "2001:db8::1": {}})
	results, err := w.transport(t).Deliver(t.Context(), attempt(
		"1@b.example", "2@c.example", "3@b.example", "4@d.example", "5@[192.0.2.1]", "6@[IPv6:2001:db8::1]", "postmaster",
	))
	want := []string{
		"1@b.example sent 250 2.0.0 taken", "2@c.example failed 556 5.1.10 Domain does not accept mail", "3@b.example sent 250 2.0.0 taken",
		"4@d.example deferred 451 4.4.0 server cannot be reached: no host of d.example can be used: host d.example: connecting: dial tcp: connection refused",
		"5@[192.0.2.1] sent 250 2.0.0 taken", "6@[IPv6:2001:db8::1] sent 250 2.0.0 taken", "postmaster failed 553 5.1.3 Recipient address has no domain",
	}
	if diff := cmp.Diff(want, states(results, err)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"<1@b.example>", "<3@b.example>"}, relay.Messages()[0].Rcpt); diff != "" {
		t.Errorf("first mail (-want +got):\n%s", diff)
	}
	if _, err := w.transport(t).Deliver(t.Context(), attempt("1@d.example", "2@192-0-2-9.d.example")); errors.Is(err, mailflow.ErrUnreachable) {
		t.Errorf("one of two domains does not exist: %v", err)
	}
	w.Set("e.example IP", "192.0.2.9")
	if _, err := w.transport(t).Deliver(t.Context(), attempt("1@d.example", "2@e.example")); !errors.Is(err, mailflow.ErrUnreachable) {
		t.Errorf("both domains are down: %v", err)
	}
}

// TestMXReuse keeps a connection for the next mail to the host, also of
// another domain.
func TestMXReuse(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{}
	w := newWorld(t, map[string][]string{
		"b.example MX": {"10 mx.example"}, "c.example MX": {"10 mx.example"}, "mx.example IP": {"192.0.2.1"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": relay})
	tr := w.transport(t)
	for _, rcpt := range []string{"1@b.example", "2@c.example", "3@b.example"} {
		if _, err := tr.Deliver(t.Context(), attempt(rcpt)); err != nil {
			t.Error(err)
		}
	}
	if got, mails := relay.Connections(), len(relay.Messages()); got != 1 || mails != 3 {
		t.Errorf("%d mails on %d connections", mails, got)
	}
}

// TestMXPort reaches a far end on this machine by another port than 25.
func TestMXPort(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{}
	_, port, err := net.SplitHostPort(relay.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, map[string][]string{"b.example MX": {"10 mx.b.example"}, "mx.b.example IP": {"127.0.0.1"}}, nil)
	tr := w.transport(t)
	if tr.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	tr.dialer = nil
	results, err := tr.Deliver(t.Context(), attempt("b@b.example"))
	if diff := cmp.Diff([]string{"b@b.example sent 250 2.0.0 taken"}, states(results, err)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}
