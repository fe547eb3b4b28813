// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestMXTest goes through what an operator sees.
func TestMXTest(t *testing.T) {
	t.Parallel()
	cert := newAuthority(t, never, "mx1.b.example")
	zone := map[string][]string{
		"b.example MX": {"10 mx1.b.example", "20 mx2.b.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"},
	}
	refuses := func(stage mailflowtest.RelayStage, line string) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
		return mailflowtest.RelayAt(stage, mailflowtest.RelaySay(line))
	}
	type relays = map[string]*mailflowtest.Relay
	tests := []struct {
		name     string
		zone     map[string][]string
		relays   relays
		policy   string
		tlsa     string
		steps    string // the names; "!" behind the failed one
		resolve  string // the detail of the first step
		last     string // the detail or the error of the last
		unproven string
	}{
		{
			name: "all well", zone: zone, relays: relays{"192.0.2.1": {TLS: cert.server}}, steps: "resolve connect ehlo tls mail rcpt",
			resolve: "MX 10 mx1.b.example, 20 mx2.b.example, proven; host mx1.b.example at 192.0.2.1: TLS if offered",
			last:    "250 2.1.5 recipient ok", unproven: "No message was sent",
		},
		{
			name: "policies", zone: zone, relays: relays{"192.0.2.1": {TLS: cert.server}}, steps: "resolve connect ehlo tls mail rcpt",
			policy: "version: STSv1\nmode: enforce\nmx: *.b.example\nmax_age: 86400\n", tlsa: cert.tlsa311(),
			resolve: "proven; MTA-STS enforce *.b.example; host mx1.b.example at 192.0.2.1: TLS by DANE", last: "250", unproven: "No message",
		},
		{
			name: "TLS fails", zone: zone, relays: relays{"192.0.2.1": {TLS: cert.server, Script: mailflowtest.RelayAt(mailflowtest.RelayTLS, mailflowtest.RelayClose())}},
			steps: "resolve connect ehlo mail rcpt", last: "250", unproven: "TLS fails, so that mail to this host goes in clear: starting TLS: EOF.",
		},
		{
			name: "first is down", zone: zone, relays: relays{"192.0.2.2": {}}, steps: "resolve connect ehlo mail rcpt",
			last: "250", unproven: "Host mx1.b.example was passed over: connecting: dial tcp: connection refused.",
		},
		{name: "all are down", zone: zone, steps: "resolve connect!", last: "connection refused", unproven: "Host mx1.b.example was passed over"},
		{name: "policy not met", zone: zone, relays: relays{"192.0.2.1": {}}, steps: "resolve!", policy: "version: STSv1\nmode: enforce\nmx: b.example\nmax_age: 86400\n", last: "host mx2.b.example: not named by the domain's MTA-STS policy", unproven: "Host mx1.b.example was passed over"},
		{name: "recipient refused", zone: zone, relays: relays{"192.0.2.1": {Script: refuses(mailflowtest.RelayRcpt, "550 5.1.1 nobody")}, "192.0.2.2": {}}, steps: "resolve connect ehlo mail rcpt!", last: "550 5.1.1 nobody"},
		{name: "null MX", zone: map[string][]string{"b.example MX": {"0 ."}}, steps: "resolve!", last: "556 5.1.10", unproven: "Nothing else was tried."},
		{name: "no such domain", steps: "resolve!", resolve: "no MX, host b.example", last: "no such DNS record", unproven: "Nothing was tried with this host."},
		{name: "loop", zone: zone, relays: relays{"192.0.2.1": {Script: refuses(mailflowtest.RelayHello, "250 gate.example")}, "192.0.2.2": {Script: refuses(mailflowtest.RelayHello, "250 gate.example")}}, steps: "resolve connect ehlo!", last: "554 5.4.6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, make(map[string][]string), tt.relays)
			for key, records := range tt.zone {
				w.Set(key, records...)
			}
			w.Secure = true
			if tt.policy != "" {
				w.policy(t, tt.policy)
			}
			if tt.tlsa != "" {
				w.Set("_25._tcp.mx1.b.example TLSA", tt.tlsa)
			}
			report := w.transport(t).Test(t.Context(), mailflow.MustParseAddress("a@a.example"), mailflow.MustParseAddress("b@b.example"))
			var steps []string
			for _, s := range report.Steps {
				name := s.Name
				if s.Error != "" {
					name += "!"
				}
				steps = append(steps, name)
			}
			if diff := cmp.Diff(tt.steps, strings.Join(steps, " ")); diff != "" {
				t.Fatalf("steps (-want +got):\n%s", diff)
			}
			if first := report.Steps[0]; !strings.Contains(first.Detail, tt.resolve) {
				t.Errorf("first step %+v", first)
			}
			last := report.Steps[len(report.Steps)-1]
			if !strings.Contains(last.Detail+last.Error, tt.last) || report.OK != (last.Error == "") || (last.Error == "") != (last.Hint == "") {
				t.Errorf("last step %+v, OK %v", last, report.OK)
			}
			if !slices.ContainsFunc(report.Unproven, func(s string) bool { return strings.Contains(s, tt.unproven) }) {
				t.Errorf("unproven %q", report.Unproven)
			}
			for _, relay := range tt.relays {
				if slices.Contains(relay.Commands(), "DATA") {
					t.Error("a message was sent")
				}
			}
		})
	}
}
