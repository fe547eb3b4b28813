// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// ill is a server that fails at a stage in a way, and recovers when it is told.
type ill struct {
	stage mailflowtest.RelayStage
	act   mailflowtest.RelayAct
	// reason is part of what the queue says of the mail meanwhile.
	reason string
	// timeout is short where it must pass, and else what no machine needs.
	timeout time.Duration

	name   string
	relay  *mailflowtest.Relay
	healed atomic.Bool
}

// much is more than any reply has, and than a gateway should read of one.
const much = 16 << 20

// illnesses are the ways in which a server fails.
func illnesses() []*ill {
	var all []*ill
	add := func(act mailflowtest.RelayAct, reason string, stages ...mailflowtest.RelayStage) {
		for _, stage := range stages {
			all = append(all, &ill{stage: stage, act: act, reason: reason, timeout: patience})
		}
	}
	const (
		greeting, hello, from = mailflowtest.RelayGreeting, mailflowtest.RelayHello, mailflowtest.RelayMail
		rcpt, data, final     = mailflowtest.RelayRcpt, mailflowtest.RelayData, mailflowtest.RelayFinal
	)
	add(mailflowtest.RelayStall(nil), "timeout", greeting, hello, from, rcpt, data, mailflowtest.RelayContent, final)
	add(mailflowtest.RelayCut(), "451 4.4.", greeting, hello, from, rcpt, data)
	add(mailflowtest.RelayCut(), "outcome unknown", final)
	add(mailflowtest.RelayClose(), "outcome unknown", final)
	add(mailflowtest.RelayRaw("HTTP/1.1 400 Bad Request\r\n\r\n"), "not an SMTP reply", greeting, hello, from, rcpt, data, final)
	add(mailflowtest.RelayRaw("\x15\x03\x01\x00\x02\x02\x28"+strings.Repeat("\x00\n", 8)), "not an SMTP reply", greeting, final)
	add(mailflowtest.RelaySay("451 4.7.1 greylisted"), "451 4.7.1 greylisted", from, rcpt, data, final)
	add(mailflowtest.RelaySayClose("421 4.3.2 closing"), "421 4.3.2 closing", from, rcpt, final)
	add(mailflowtest.RelayRaw(strings.Repeat("250-more\r\n", much/10)), "not an SMTP reply", greeting, hello, from, final)
	add(mailflowtest.RelayRaw("250 "+strings.Repeat("x", much)), "not an SMTP reply", greeting, hello, rcpt, final)
	for i, s := range all {
		s.name = fmt.Sprintf("ill%d", i)
		if s.reason == "timeout" {
			s.timeout = 5 * time.Second
		}
	}
	return all
}

// start starts the server.
func (s *ill) start(t *testing.T) (address string) {
	t.Helper()
	s.relay = &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		if s.healed.Load() || e.Stage != s.stage {
			return nil
		}
		return s.act
	}}
	return s.relay.Start(t)
}

// TestHostileServers has a gateway send through many servers that fail in every
// way at every stage, and one that is well: the mail of that one is not held
// up, that of the others is deferred with what happened, and goes out once when
// they have recovered.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	all := illnesses()
	var servers strings.Builder
	for _, s := range all {
		fmt.Fprintf(&servers, "outgoing %s {\nfrom_filter %s.example\nvia smtp %s {\ntls off\ntimeout %s\n}\n}\n", s.name, s.name, s.start(t), s.timeout)
	}
	f := newFortressOf(t, serversConfig, servers.String())
	pad := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 100_000) // more than sockets hold
	f.besiege(t, 2*maxGrowth, func() {
		c := mustDial(t, f.door)
		for _, s := range all {
			m := mailBy(s.name)
			if s.stage == mailflowtest.RelayContent {
				m.content += pad
			}
			c.mustSend(t, m)
		}
		f.awaitWell(t)
		seen := make(map[string]delivery) // as each was when it was deferred first
		await(t, "each mail was deferred", func() bool {
			for _, d := range f.deliveries("state=deferred&limit=1000") {
				if _, ok := seen[d.Server]; !ok && d.Attempts > 0 {
					seen[d.Server] = d
				}
			}
			return len(seen) == len(all)
		})
		for _, s := range all {
			if d := seen[s.name]; !strings.Contains(d.Reply+" "+d.Reason, s.reason) {
				t.Errorf("%s at %s: the mail is deferred with %q %q, want %q", s.name, s.stage, d.Reply, d.Reason, s.reason)
			}
		}
	})
	for _, s := range all {
		if got := s.relay.Messages(); len(got) > 0 {
			t.Errorf("%s at %s took %d mails while it failed", s.name, s.stage, len(got))
		}
		s.healed.Store(true)
	}
	for _, s := range all {
		await(t, fmt.Sprintf("%s, that failed at %s, has its mail", s.name, s.stage), func() bool { return len(s.relay.Messages()) > 0 })
		f.acknowledged(s.name + "@example.net")
	}
	await(t, "the queue is empty", func() bool { return f.open() == 0 })
	for _, s := range all {
		if got := s.relay.Messages(); len(got) != 1 || !slices.Equal(got[0].Rcpt, []string{"<" + s.name + "@example.net>"}) {
			t.Errorf("%s, that failed at %s, has %d mails, want one", s.name, s.stage, len(got))
		}
	}
	if got, want := f.health().Queue["sent"], len(f.sent); got != want {
		t.Errorf("the ledger has %d sent deliveries, want %d", got, want)
	}
}

// mailBy returns a mail that goes out by the server of that name.
func mailBy(server string) submission {
	m := mailOf(server)
	m.from = "anna@" + server + ".example"
	m.content = strings.Replace(m.content, "anna@mycompany.com", m.from, 1)
	return m
}

// awaitWell waits until the server that is well has a mail that is sent now.
func (f *fortress) awaitWell(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := f.submit(mailOf("well")); err != nil {
		t.Error(err)
	}
	await(t, "the server that is well has its mail", func() bool {
		return slices.ContainsFunc(f.far.Messages(), func(m mailflowtest.RelayMessage) bool { return m.Rcpt[0] == "<well@example.net>" })
	})
	if took := time.Since(began); took > promptly {
		t.Errorf("the mail by the server that is well took %v", took)
	}
}

// serversConfig has servers of its own behind the one for everybody else.
const serversConfig = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing far {
			from_filter mycompany.com
			via smtp %s {
				tls off
			}
		}
		smtp %s
		queue {
			retry 3s
		}
		%s
	}
}
`

// TestHostileDoubt has a server take mail and reset the connection before it
// says so, twice. Nobody can know, so the mail is sent again: the far end has
// it as often as it took it, and the gateway stops at the first 250.
func TestHostileDoubt(t *testing.T) {
	t.Parallel()
	const lost = 2
	var tries atomic.Int32
	relay := &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		if e.Stage == mailflowtest.RelayFinal && tries.Add(1) <= lost {
			return mailflowtest.RelayCut()
		}
		return nil
	}}
	servers := fmt.Sprintf("outgoing doubt {\nfrom_filter doubt.example\nvia smtp %s {\ntls off\n}\n}\n", relay.Start(t))
	f := newFortressOf(t, strings.Replace(serversConfig, "retry 3s", "retry 200ms", 1), servers)
	m := mailBy("doubt")
	f.besiege(t, maxGrowth, func() {
		mustDial(t, f.door).mustSend(t, m)
		await(t, "the mail has come", func() bool { return len(relay.Messages()) > 0 })
		f.acknowledged(m.to)
		await(t, "the queue is empty", func() bool { return f.open() == 0 })
	})
	if n := tries.Load(); n != lost+1 {
		t.Errorf("the mail was sent %d times, want %d: until it was acknowledged and no more", n, lost+1)
	}
	list := f.deliveries("server=doubt")
	if len(list) != 1 || list[0].State != "sent" || list[0].Attempts != lost+1 {
		t.Errorf("the ledger says %+v, want one delivery, sent with attempt %d", list, lost+1)
	}
}

// TestHostileCertificate has a server whose certificate has expired: the mail
// waits and nothing of it is sent, with or without TLS.
func TestHostileCertificate(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{TLS: expired(t)}
	servers := fmt.Sprintf("outgoing old {\nfrom_filter old.example\nvia smtp %s {\ntls starttls\n}\n}\n", relay.Start(t))
	f := newFortressOf(t, serversConfig, servers)
	f.besiege(t, maxGrowth, func() {
		mustDial(t, f.door).mustSend(t, mailBy("old"))
		await(t, "the mail is deferred", func() bool {
			list := f.deliveries("server=old")
			return len(list) == 1 && list[0].State == "deferred" && strings.Contains(list[0].Reply, "certificate has expired")
		})
	})
	for _, line := range relay.Commands() {
		if !strings.HasPrefix(line, "EHLO ") && line != "STARTTLS" {
			t.Errorf("the gateway went on with %q", line)
		}
	}
	if got := relay.Messages(); len(got) > 0 {
		t.Errorf("%d mails went to a server whose certificate has expired", len(got))
	}
}

// expired returns the TLS configuration of a server whose certificate was good
// until an hour ago.
func expired(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}
