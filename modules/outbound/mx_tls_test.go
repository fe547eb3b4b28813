// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// A protected is a case of a domain b.example with one host, mx.b.example.
type protected struct {
	name       string
	cert       *authority // of the host; nil = no STARTTLS
	script     func(mailflowtest.RelayEvent) mailflowtest.RelayAct
	trusts     *x509.CertPool // what the gateway trusts
	tlsa       string
	tlsaErr    error
	insecure   []string // what is not proven; nil = nothing is
	policy     string   // mode and host of the MTA-STS policy
	requireTLS bool     // of the message
	offers     bool     // REQUIRETLS, by the host

	tls  bool   // the mail came by TLS
	want string // of the error; empty = sent
}

// run delivers one mail.
func (p protected) run(t *testing.T) {
	t.Helper()
	relay := &mailflowtest.Relay{Script: p.script, Offers: []string{"PIPELINING"}}
	if p.cert != nil {
		relay.TLS = p.cert.server
	}
	if p.offers {
		relay.Offers = append(relay.Offers, "REQUIRETLS")
	}
	w := newWorld(t, map[string][]string{"b.example MX": {"10 mx.b.example"}, "mx.b.example IP": {"192.0.2.1"}}, map[string]*mailflowtest.Relay{"192.0.2.1": relay})
	w.roots = x509.NewCertPool()
	if p.trusts != nil {
		w.roots = p.trusts.Clone()
	}
	if p.insecure != nil {
		w.Secure, w.Insecure = true, make(map[string]bool)
		for _, key := range p.insecure {
			w.Insecure[key] = true
		}
	}
	if p.tlsa != "" {
		w.Set("_25._tcp.mx.b.example TLSA", strings.Split(p.tlsa, ",")...)
	}
	if p.tlsaErr != nil {
		w.Fail("_25._tcp.mx.b.example TLSA", p.tlsaErr)
	}
	if mode, host, ok := strings.Cut(p.policy, " "); ok {
		w.policy(t, "version: STSv1\nmode: "+mode+"\nmx: "+host+"\nmax_age: 86400\n")
	}
	a := attempt("b@b.example")
	a.Delivery.Envelope.RequireTLS = p.requireTLS
	_, err := w.transport(t).Deliver(t.Context(), a)
	got := relay.Messages()
	switch {
	case p.want != "":
		if err == nil || !strings.Contains(err.Error(), p.want) || len(got) > 0 {
			t.Errorf("got %v, %d mails; want %s", err, len(got), p.want)
		}
		var reply *mailflow.Reply
		if errors.As(err, &reply) == errors.Is(err, mailflow.ErrUnreachable) {
			t.Errorf("%v is both or neither of an answer and unreachable", err)
		}
	case err != nil || len(got) != 1:
		t.Errorf("got %v, %d mails", err, len(got))
	case got[0].TLS != p.tls:
		t.Errorf("came by TLS: %v", got[0].TLS)
	}
	if p.want == "" && p.requireTLS && !strings.Contains(got[0].Mail, "REQUIRETLS") {
		t.Errorf("MAIL %s", got[0].Mail)
	}
}

func TestMXTLS(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, never, "mx.b.example")
	other := newAuthority(t, never, "mx.other.example")
	expired := newAuthority(t, time.Unix(1, 0), "mx.b.example")
	domain := newAuthority(t, never, "b.example")
	proven := []string{}
	tests := []protected{
		{name: "opportunistic, nobody's certificate", cert: other, tls: true},
		{name: "opportunistic, not offered"},
		{name: "opportunistic, refused", cert: good, script: mailflowtest.RelayAt(mailflowtest.RelayStartTLS, mailflowtest.RelaySay("454 4.7.0 no"))},
		{name: "opportunistic, handshake fails", cert: good, script: mailflowtest.RelayAt(mailflowtest.RelayTLS, mailflowtest.RelayClose())},
		{name: "opportunistic, garbage", cert: good, script: mailflowtest.RelayAt(mailflowtest.RelayTLS, mailflowtest.RelayRaw("garbage garbage garbage"))},

		{name: "MTA-STS", cert: good, trusts: good.roots, policy: "enforce mx.b.example", tls: true},
		{name: "MTA-STS, wildcard", cert: good, trusts: good.roots, policy: "enforce *.b.example", tls: true},
		{name: "MTA-STS, other host", cert: good, trusts: good.roots, policy: "enforce mx.other.example", want: "host mx.b.example: not named by the domain's MTA-STS policy"},
		{name: "MTA-STS, not offered", policy: "enforce mx.b.example", want: "server does not offer STARTTLS"},
		{name: "MTA-STS, not trusted", cert: good, policy: "enforce mx.b.example", want: "unknown authority"},
		{name: "MTA-STS, other name", cert: other, trusts: other.roots, policy: "enforce mx.b.example", want: "valid for mx.other.example, not mx.b.example"},
		{name: "MTA-STS, expired", cert: expired, trusts: expired.roots, policy: "enforce mx.b.example", want: "certificate has expired"},
		{name: "MTA-STS, handshake fails", cert: good, trusts: good.roots, policy: "enforce mx.b.example", script: mailflowtest.RelayAt(mailflowtest.RelayTLS, mailflowtest.RelayClose()), want: "starting TLS"},
		{name: "MTA-STS in testing, other host", cert: other, policy: "testing mx.other.example", tls: true},
		{name: "MTA-STS in testing, not offered", policy: "testing mx.b.example"},
		{name: "MTA-STS of none", policy: "none mx.other.example"},

		{name: "DANE 3 1 1", cert: good, insecure: proven, tlsa: good.tlsa311(), tls: true},
		{name: "DANE 3 1 1, other name, expired", cert: expired, insecure: proven, tlsa: expired.tlsa311(), tls: true},
		{name: "DANE 3 1 1, another certificate", cert: good, insecure: proven, tlsa: other.tlsa311(), want: "certificate agrees with no TLSA record"},
		{name: "DANE 3 1 1, one of two", cert: good, insecure: proven, tlsa: other.tlsa311() + "," + good.tlsa311(), tls: true},
		{name: "DANE, not offered", insecure: proven, tlsa: good.tlsa311(), want: "server does not offer STARTTLS"},
		{name: "DANE 2 0 1", cert: good, insecure: proven, tlsa: good.tlsa201(), tls: true},
		{name: "DANE 2 0 1, name of the domain", cert: domain, insecure: proven, tlsa: domain.tlsa201(), tls: true},
		{name: "DANE 2 0 1, other name", cert: other, insecure: proven, tlsa: other.tlsa201(), want: "certificate agrees with no TLSA record"},
		{name: "DANE 2 0 1, expired", cert: expired, insecure: proven, tlsa: expired.tlsa201(), want: "certificate agrees with no TLSA record"},
		{name: "DANE 2 0 1, another authority", cert: good, trusts: good.roots, insecure: proven, tlsa: other.tlsa201(), want: "certificate agrees with no TLSA record"},
		{name: "DANE, records of no use", cert: other, insecure: proven, tlsa: "1 1 1 00", tls: true},
		{name: "DANE, records of no use, not offered", insecure: proven, tlsa: "1 1 1 00", want: "server does not offer STARTTLS"},
		{name: "DANE, MX not proven", insecure: []string{"b.example MX"}, tlsa: good.tlsa311()},
		{name: "DANE, address not proven", insecure: []string{"mx.b.example IP"}, tlsa: good.tlsa311()},
		{name: "DANE, records not proven", insecure: []string{"_25._tcp.mx.b.example TLSA"}, tlsa: good.tlsa311()},
		{name: "DANE, records cannot be known", insecure: proven, tlsaErr: errServfail, want: "_25._tcp.mx.b.example TLSA: name server answered SERVFAIL"},
		{name: "DANE, not asked where it cannot be proven", insecure: []string{"mx.b.example IP"}, tlsaErr: errServfail},
		{name: "DANE before MTA-STS", cert: good, insecure: proven, tlsa: good.tlsa311(), policy: "enforce mx.other.example", tls: true},
		{name: "DANE before MTA-STS, failing", cert: good, trusts: good.roots, insecure: proven, tlsa: other.tlsa311(), policy: "enforce mx.b.example", want: "certificate agrees with no TLSA record"},

		{name: "REQUIRETLS, MTA-STS", requireTLS: true, offers: true, cert: good, trusts: good.roots, policy: "enforce mx.b.example", tls: true},
		{name: "REQUIRETLS, DANE", requireTLS: true, offers: true, cert: good, insecure: proven, tlsa: good.tlsa311(), tls: true},
		{name: "REQUIRETLS, proven host, valid certificate", requireTLS: true, offers: true, cert: good, trusts: good.roots, insecure: proven, tls: true},
		{name: "REQUIRETLS, host not proven", requireTLS: true, offers: true, cert: good, trusts: good.roots, want: "550 5.7.30 REQUIRETLS support required"},
		{name: "REQUIRETLS, not trusted", requireTLS: true, offers: true, cert: good, insecure: proven, want: "550 5.7.30"},
		{name: "REQUIRETLS, records of no use, not trusted", requireTLS: true, offers: true, cert: other, insecure: proven, tlsa: "1 1 1 00", want: "550 5.7.30"},
		{name: "REQUIRETLS, not offered", requireTLS: true, cert: good, insecure: proven, tlsa: good.tlsa311(), want: "550 5.7.30"},
		{name: "REQUIRETLS, no STARTTLS", requireTLS: true, offers: true, insecure: proven, want: "550 5.7.30"},
		{name: "REQUIRETLS, host is down", requireTLS: true, insecure: proven, script: mailflowtest.RelayAt(mailflowtest.RelayGreeting, mailflowtest.RelaySay("421 later")), want: "server cannot be reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t)
		})
	}
}

// TestMXNextHostTLS goes on to a host that meets the policy.
func TestMXNextHostTLS(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, never, "mx2.b.example")
	first, second := &mailflowtest.Relay{}, &mailflowtest.Relay{TLS: good.server}
	w := newWorld(t, map[string][]string{
		"b.example MX": {"10 mx1.b.example", "20 mx2.b.example", "5 mx.attacker.example"}, "mx1.b.example IP": {"192.0.2.1"}, "mx2.b.example IP": {"192.0.2.2"}, "mx.attacker.example IP": {"192.0.2.1"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": first, "192.0.2.2": second})
	w.roots = good.roots
	w.policy(t, "version: STSv1\nmode: enforce\nmx: *.b.example\nmax_age: 86400\n")
	results, err := w.transport(t).Deliver(t.Context(), attempt("b@b.example"))
	if diff := cmp.Diff([]string{"b@b.example sent 250 2.0.0 taken"}, states(results, err)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if len(first.Messages()) > 0 || len(second.Messages()) != 1 || !second.Messages()[0].TLS {
		t.Error("another host got the mail")
	}
}

// TestMXReuseProtected does not send a mail that demands protection on a
// connection that was opened without.
func TestMXReuseProtected(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, never, "mx.example")
	relay := &mailflowtest.Relay{TLS: good.server}
	w := newWorld(t, map[string][]string{
		"c.example MX": {"10 mx.example"}, "b.example MX": {"10 mx.example"}, "mx.example IP": {"192.0.2.1"},
	}, map[string]*mailflowtest.Relay{"192.0.2.1": relay})
	w.policy(t, "version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 86400\n")
	tr := w.transport(t)
	if _, err := tr.Deliver(t.Context(), attempt("c@c.example")); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Deliver(t.Context(), attempt("b@b.example")); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v", err)
	}
}

// TestMXPolicyKept holds to a policy that can be found no longer.
func TestMXPolicyKept(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{}
	w := newWorld(t, map[string][]string{"b.example IP": {"192.0.2.1"}}, map[string]*mailflowtest.Relay{"192.0.2.1": relay})
	w.policy(t, "version: STSv1\nmode: enforce\nmx: b.example\nmax_age: 86400\n")
	tr := w.transport(t)
	for _, change := range []func(){
		func() {},
		func() { w.Set("mta-sts.b.example IP") },
		func() { w.Set("_mta-sts.b.example TXT", "v=STSv1; id=2") },
		func() { w.Fail("_mta-sts.b.example TXT", errServfail) },
	} {
		change()
		if _, err := tr.Deliver(t.Context(), attempt("b@b.example")); err == nil || !strings.Contains(err.Error(), "does not offer STARTTLS") {
			t.Errorf("got %v", err)
		}
	}
}
