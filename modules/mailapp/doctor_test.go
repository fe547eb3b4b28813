// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// reach is a transport to a server.
type reach struct {
	mailflow.Transport
	cfg smtprelay.Config
	err error
}

func (r reach) Target() (smtprelay.Config, error) { return r.cfg, r.err }

// listen starts a relay and returns its port.
func listen(t *testing.T, r *mailflowtest.Relay) uint16 {
	t.Helper()
	return netip.MustParseAddrPort(r.Start(t)).Port()
}

// closedPort returns a port of the loopback that nothing listens at.
func closedPort(t *testing.T) uint16 {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(ln.Addr().String()).Port()
}

func server(cfg smtprelay.Config) *engine.Server {
	cfg.Hello, cfg.Now = "gate.example", time.Now
	return &engine.Server{Transport: reach{cfg: cfg}}
}

func at(port uint16) *engine.Server {
	return server(smtprelay.Config{Host: "127.0.0.1", Port: port, TLS: smtprelay.TLSOptional})
}

// TestDoctor knocks at servers whose ports answer in each way, beside another
// port that is open and one that is closed.
func TestDoctor(t *testing.T) {
	t.Parallel()
	good := listen(t, &mailflowtest.Relay{})
	silent := listen(t, &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayGreeting, mailflowtest.RelayStall(t.Context().Done()))})
	refusing := listen(t, &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayGreeting, mailflowtest.RelaySayClose("554 not for you"))})
	closed := closedPort(t)
	open := []knock{{good, smtprelay.TLSOptional}, {closed, smtprelay.TLSOptional}}
	shut := []knock{{closed, smtprelay.TLSOptional}}
	tests := []struct {
		name   string
		server *engine.Server
		knocks []knock
		used   portState // "" = no port
		ports  int
		advice string // "PORT" stands for the open one
	}{
		{"answers", at(good), shut, portAnswers, 2, ""},
		{"named twice", at(good), open, portAnswers, 2, ""},
		{"closed", at(closed), open, portRefused, 2, "nothing listens at port CLOSED: use GOOD"},
		{"all closed", at(closed), shut, portRefused, 1, "it takes no mail at any of these ports"},
		{"silent", at(silent), open, portSilent, 3, "port SILENT is blocked here: use GOOD"},
		{"all silent", at(silent), nil, portSilent, 1, "a firewall may let no mail out of here"},
		{"refuses", at(refusing), open, portUnusable, 3, "answers, and not as a mail server should: use GOOD"},
		{"only refuses", at(refusing), shut, portUnusable, 2, "server answered 554 not for you"},
		{"no TLS", server(smtprelay.Config{Host: "127.0.0.1", Port: good, TLS: smtprelay.TLSImplicit}), shut, portUnusable, 2, "TLS handshake"},
		{"no STARTTLS", server(smtprelay.Config{Host: "127.0.0.1", Port: good, TLS: smtprelay.TLSRequired}), nil, portUnusable, 1, "does not offer STARTTLS"},
		{"no name", server(smtprelay.Config{Host: "nowhere.example", Port: 587, Resolve: noName}), open, portUnknown, 3, "check the host name"},
		{"LMTP", server(smtprelay.Config{Host: "127.0.0.1", Port: closed, Protocol: smtprelay.LMTP}), open, portRefused, 1, "no mail at any"},
		{"socket", server(smtprelay.Config{Path: t.TempDir() + "/none"}), open, portUnknown, 1, "check its path"},
		{"placeholder", &engine.Server{Transport: reach{err: errors.New("{env.HOST} is empty")}}, open, "", 0, "{env.HOST} is empty"},
		{"captures", &engine.Server{}, open, "", 0, "no server to knock at"},
		{"by domain", &engine.Server{Server: mailflow.Server{PerDomain: true}}, open, "", 0, "mail test outgoing by domain --rcpt"},
	}
	words := strings.NewReplacer("GOOD", port(good), "CLOSED", port(closed), "SILENT", port(silent))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Silence takes as long as the patience, and all else takes none of it.
			doc := doctor{knocks: tt.knocks, patience: time.Minute}
			if tt.used == portSilent {
				doc.patience = 8 * time.Second
			}
			d := doc.examine(t.Context(), map[string]*engine.Server{tt.name: tt.server, "other": at(closed)}, tt.name)
			if len(d.Servers) != 1 || d.Servers[0].Server != tt.name {
				t.Fatalf("examined %+v", d.Servers)
			}
			c := d.Servers[0]
			if len(c.Ports) != tt.ports || !slices.IsSortedFunc(c.Ports, func(a, b portCheck) int { return cmp.Compare(a.Port, b.Port) }) {
				t.Errorf("ports %+v", c.Ports)
			}
			var used portState
			for _, p := range c.Ports {
				if p.Used {
					used += p.State
				}
				if (p.State == portAnswers) != (p.Error == "") || p.Took <= 0 {
					t.Errorf("port %+v", p)
				}
			}
			if used != tt.used || d.OK != c.OK || tt.ports > 0 && c.OK != (used == portAnswers) {
				t.Errorf("state %q, OK %v", used, c.OK)
			}
			if want := words.Replace(tt.advice); (want == "") != (c.Advice == "") || !strings.Contains(c.Advice, want) {
				t.Errorf("advice %q, want %q", c.Advice, want)
			}
		})
	}
}

func port(n uint16) string { return portName(portCheck{Port: n}) }

func noName(context.Context, string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

// TestDoctorAll examines all servers, in the order of their names.
func TestDoctorAll(t *testing.T) {
	t.Parallel()
	good := listen(t, &mailflowtest.Relay{})
	servers := map[string]*engine.Server{"b": at(closedPort(t)), "a": at(good), "c": {}}
	d := doctor{patience: time.Minute}.examine(t.Context(), servers, "")
	var got []string
	for _, c := range d.Servers {
		got = append(got, c.Server)
	}
	if diff := gocmp.Diff([]string{"a", "b", "c"}, got); diff != "" || d.OK {
		t.Errorf("%s OK %v", diff, d.OK)
	}
	if d := (doctor{}).examine(t.Context(), nil, ""); !d.OK || d.Servers == nil {
		t.Errorf("without servers %+v", d)
	}
}

func TestUsualKnocks(t *testing.T) {
	t.Parallel()
	want := []knock{{25, smtprelay.TLSOptional}, {465, smtprelay.TLSImplicit}, {587, smtprelay.TLSOptional}, {2525, smtprelay.TLSOptional}}
	if !slices.Equal(usualKnocks(), want) {
		t.Errorf("%v", usualKnocks())
	}
}

// TestOtherPort prefers submission, and port 25 least.
func TestOtherPort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		open []uint16
		want string
	}{
		{nil, ""},
		{[]uint16{25}, "25"},
		{[]uint16{25, 2525}, "2525"},
		{[]uint16{25, 465, 2525}, "465 (tls implicit)"},
		{[]uint16{25, 465, 587, 2525}, "587"},
		{[]uint16{25, 2587}, "25"},
	} {
		c := checkup{Ports: []portCheck{{Port: 26, State: portRefused, Used: true}}}
		for _, p := range tt.open {
			c.Ports = append(c.Ports, portCheck{Port: p, State: portAnswers})
		}
		if got := c.otherPort(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.open, got, tt.want)
		}
	}
}
