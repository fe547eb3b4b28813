// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// testHash is the bcrypt hash of "right", as cheap as there is.
func testHash(tb testing.TB) string {
	tb.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	return string(hash)
}

// TestRoles says for each way to write a door what a peer may do there.
func TestRoles(t *testing.T) {
	t.Parallel()
	const (
		submits  = "submits"
		receives = "receives"
		login    = "530"
	)
	hash := testHash(t)
	tests := []struct {
		door string
		peer string // address; a name before @ is a user
		want string
	}{
		// Neither written.
		{"smtp 127.0.0.1:2525", "127.0.0.1", submits},
		{"smtp [::1]:2525", "::1", submits},
		{"smtp localhost:2525", "127.0.0.1", submits},
		{"smtp unix//run/m.sock", "unix", submits},
		{"smtp 127.0.0.1:2525 unix//run/m.sock", "unix", submits},
		{"smtp 127.0.0.1:2525", "192.0.2.1", receives}, // whoever got there
		{"smtp :25", "127.0.0.1", receives},
		{"smtp :25", "192.0.2.1", receives},
		{"smtp 192.0.2.9:25 127.0.0.1:25", "127.0.0.1", receives},
		{"smtp 0.0.0.0:25", "127.0.0.1", receives},
		// One written.
		{"smtp 127.0.0.1:2525 {\nreceive\n}", "127.0.0.1", receives},
		{"smtp :25 {\nreceive\n}", "192.0.2.1", receives},
		{"smtp 127.0.0.1:2525 {\nsubmit\n}", "127.0.0.1", login},
		{"smtp :587 {\nsubmit\n}", "192.0.2.1", login},
		{"smtp :587 {\nsubmit\nuser app " + hash + "\n}", "app@192.0.2.1", submits},
		{"smtp :587 {\nsubmit 10.1.0.0/16\n}", "10.1.2.3", submits},
		{"smtp :587 {\nsubmit 10.1.0.0/16\n}", "10.2.2.3", login},
		{"smtp :587 {\nsubmit 10.1.0.0/16\n}", "127.0.0.1", login},
		{"smtp :587 {\nsubmit 10.1.0.0/16\nsubmit 2001:db8::/32 10.9.9.9\n}", "10.9.9.9", submits},
		{"smtp :587 {\nsubmit 10.1.0.0/16\nsubmit 2001:db8::/32 10.9.9.9\n}", "2001:db8::1", submits},
		{"smtp :587 {\nsubmit ::ffff:10.1.0.0/112\n}", "10.1.0.3", submits},
		{"smtp :587 {\nsubmit ::ffff:10.1.0.0/112\n}", "10.2.0.3", login},
		{"smtp :587 {\nsubmit 10.1.0.0/16\nuser app " + hash + "\n}", "app@192.0.2.1", submits},
		{"smtp :587 {\nsubmit 10.1.0.0/16\n}", "unix", login},
		// LMTP receives, and submits where that is written.
		{"lmtp unix//run/m.sock", "unix", receives},
		{"lmtp 127.0.0.1:24", "127.0.0.1", receives},
		{"lmtp :24", "192.0.2.1", receives},
		{"lmtp :24 {\nsubmit 10.1.0.0/16\n}", "10.1.0.1", submits},
		{"lmtp :24 {\nsubmit 10.1.0.0/16\n}", "192.0.2.1", login},
		// Both written.
		{"smtp :25 {\nreceive\nsubmit\nuser app " + hash + "\n}", "192.0.2.1", receives},
		{"smtp :25 {\nreceive\nsubmit\nuser app " + hash + "\n}", "app@192.0.2.1", submits},
		{"smtp :25 {\nreceive\nsubmit 10.1.0.0/16\n}", "10.1.0.1", submits},
		{"smtp :25 {\nreceive\nsubmit 10.1.0.0/16\n}", "192.0.2.1", receives},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.door, hash, "HASH")+" "+tt.peer, func(t *testing.T) {
			t.Parallel()
			door := newDoor(t, tt.door)
			user, addr, ok := strings.Cut(tt.peer, "@")
			if !ok {
				user, addr = "", tt.peer
			}
			c := &smtpguard.Client{Local: addr == "unix"}
			if addr != "unix" {
				c.IP = netip.MustParseAddr(addr)
				c.Local = c.IP.IsLoopback()
			}
			s := &session{client: c, door: door, user: user}
			p, err := s.peer(door, new(mailflow.Envelope))
			got := receives
			switch {
			case errors.Is(err, errAuthRequired):
				got = login
			case err != nil:
				t.Fatal(err)
			case p.Submits:
				got = submits
			}
			if got != tt.want {
				t.Errorf("the peer %s, want %s", got, tt.want)
			}
		})
	}
}

// TestRefused says what is no door.
func TestRefused(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	dear := "$2a$15$" + hash[len("$2a$04$"):]
	for _, tt := range []struct{ door, want string }{
		{"smtp", "wrong argument count"},
		{"smtp :25 {\nreceive\nreceive\n}", "duplicate smtp option \"receive\""},
		{"smtp :25 {\nreceve\n}", `did you mean "receive"?`},
		{"smtp :25 {\nsubmit 0.0.0.0/0\n}", "open relay"},
		{"smtp :25 {\nsubmit ::/0\n}", "open relay"},
		{"smtp :25 {\nsubmit 0.0.0.0/1 128.0.0.0/1\n}", "open relay"},
		{"smtp :25 {\nsubmit 10.0.0.0/7\n}", "open relay"},
		{"smtp :25 {\nsubmit ::ffff:0:0/96\n}", "open relay"},
		{"smtp :25 {\nsubmit 2000::/3\n}", "open relay"},
		{"smtp :25 {\nsubmit everybody\n}", "no network"},
		{"smtp :25 {\nsubmit {env.INBOUND_TEST_UNSET}\n}", "INBOUND_TEST_UNSET"},
		{"smtp :25 {\nuser app " + hash + "\n}", "add submit"},
		{"smtp :25 {\nsubmit\nuser app\n}", "wrong argument count"},
		{"smtp :25 {\nsubmit\nuser app plain\n}", "no bcrypt hash"},
		{"smtp :25 {\nsubmit\nuser app " + dear + "\n}", "cost 15"},
		{"smtp :25 {\nsubmit\nuser app " + hash + "\nuser app " + hash + "\n}", "stands twice"},
		{"smtp :25 {\nsubmit\nuser a/b " + hash + "\n}", "slash"},
		{"smtp :25 {\nsubmit\nuser app " + hash + " {\ndomian x\n}\n}", `did you mean "domain"?`},
		{"smtp :25 {\nsubmit\nuser app " + hash + " {\ndomain other.example\n}\n}", "none of ours"},
		{"smtp :25 {\ndomain other.example\n}", "none of ours"},
		{"smtp :25 {\ndomain a..example\n}", "malformed"},
		{"smtp :25 {\ntls start\n}", "none of"},
		{"smtp :25 {\ntls\n}", "wrong argument count"},
		{"smtp :25 {\ntls on off\n}", "none of"},
		{"smtp :25 {\ntls {\n}\n}", "wrong argument count"},
		{"smtp :25 {\ntls off\ntls auto\n}", `duplicate smtp option "tls"`},
		{"smtp :25 {\ntls off {\nconnection_policy {\n}\n}\n}", "tls is off and has connection policies"},
		{"smtp :25 {\ntls {\nconnectionpolicy {\n}\n}\n}", `did you mean "connection_policy"?`},
		{"smtp :25 {\ntls {\nconnection_policy {\n}\nclient_authentication {\nmode request\n}\n}\n}", "exclude each other"},
		{"smtp :25 {\nlistener_wrappers\n}", "name one"},
		{"smtp :25 {\nlistener_wrappers {\nproxyprotocol\n}\n}", `did you mean "proxy_protocol"?`},
		{"smtp :25 {\nsubmit 10.0.0.0/8\nlistener_wrappers {\nproxy_protocol {\nallow 0.0.0.0/0\n}\n}\n}", "open relay"},
		{"smtp :25 {\nsubmit 10.0.0.0/8\nlistener_wrappers {\nproxy_protocol {\nfallback_policy USE\n}\n}\n}", "open relay"},
		{"smtp :25 {\nsubmit 10.0.0.0/8\nlistener_wrappers {\nproxy_protocol {\nfallback_policy REQUIRE\n}\n}\n}", "open relay"},
		{"smtp :25 {\nlistener_wrappers {\nproxy_protocol {\nallow everybody\n}\n}\n}", "loading listener wrappers"},
		{"lmtp :25", "LMTP must not be spoken on port 25"},
		{"lmtp 192.0.2.1:20-30", "LMTP must not be spoken on port 25"},
		{"lmtp", "wrong argument count"},
		{"lmtp :24 {\nreceve\n}", `unrecognized lmtp option "receve"; did you mean "receive"?`},
		{"smtp :25 {\nmax_recipients 0\n}", "not between"},
		{"smtp :25 {\nmax_size 0\n}", "max_size"},
		{"smtp :25 {\nmax_connections 0\n}", "not between"},
		{"smtp :25 {\nmax_connections_per_ip many\n}", "whole number"},
		{"smtp :25 {\nmax_auth_failures 1000001\n}", "not between"},
	} {
		t.Run(strings.ReplaceAll(tt.door, hash, "HASH"), func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.door)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestManyDomains: with several domains and no default a submit door must say
// to which one its mail belongs.
func TestManyDomains(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	services := &mailflow.Services{Domains: mailflow.Domains{{Name: "a.example"}, {Name: "b.example"}}}
	for door, refused := range map[string]bool{
		"smtp :25":            false,
		"smtp 127.0.0.1:2525": true,
		"smtp 127.0.0.1:2525 {\ndomain a.example\n}":                                      false,
		"smtp :587 {\nsubmit 10.0.0.0/8\n}":                                               true,
		"smtp :587 {\nsubmit\nuser app " + hash + "\n}":                                   true,
		"smtp :587 {\nsubmit\nuser app " + hash + " {\ndomain a.example\n}\n}":            false,
		"smtp :587 {\nsubmit 10.0.0.0/8\nuser app " + hash + " {\ndomain a.example\n}\n}": true,
	} {
		if err := newDoor(t, door).UseServices(services); (err != nil) != refused {
			t.Errorf("%s: %v", door, err)
		}
	}
}

// TestAuthenticate checks logins against hashes of all kinds.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	file := filepath.Join(t.TempDir(), "hash")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hash + "\n")
	door := newDoor(t, "smtp :587 {\nsubmit\nuser plain "+hash+"\nuser file {file."+file+"}\nuser gone {file."+file+".gone}\n}")
	for _, tt := range []struct {
		user, password string
		code           int
	}{
		{"plain", "right", 0},
		{"plain", "wrong", 535},
		{"plain", "", 535},
		{"Plain", "right", 535},
		{"nobody", "right", 535},
		{"nobody", "", 535},
		{"file", "right", 0},
		{"file", "wrong", 535},
		{"gone", "right", 454},
	} {
		code := 0
		if r := mailflow.AsReply(door.authenticate(t.Context(), tt.user, tt.password)); r != nil {
			code = r.Code
		}
		if code != tt.code {
			t.Errorf("%s with %q: %d, want %d", tt.user, tt.password, code, tt.code)
		}
	}
	// A hash that changes on disk holds at the next login.
	other, err := bcrypt.GenerateFromPassword([]byte("other"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(string(other))
	if err := door.authenticate(t.Context(), "file", "other"); err != nil {
		t.Error(err)
	}
	write("")
	if r := mailflow.AsReply(door.authenticate(t.Context(), "file", "")); r == nil || r.Code != 454 {
		t.Errorf("an empty hash gives %v", r)
	}
}

// TestReload holds a session to the newest configuration at each MAIL.
func TestReload(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	old := newDoor(t, "smtp 127.0.0.1:2525 {\nname old\nsubmit\nuser app "+hash+" {\ndomain a.example\n}\n}")
	const greeting = "S: 220 *\nC: HELO c\nS: 250 *\nC: AUTH PLAIN AGFwcAByaWdodA==\nS: 235 *\n"
	const mail = "C: MAIL FROM:<s@a.example>\nS: 250 *\nC: RCPT TO:<r@x.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *\n"
	gate := new(mailflowtest.Gate)
	gate.SetCurrent(old)
	addr := serve(t, old, gate)
	begin := func() *player {
		p := dial(t, addr)
		gate.SetCurrent(old)
		p.talk(greeting + mail)
		return p
	}

	p := begin()
	gate.SetCurrent(newDoor(t, "smtp 127.0.0.1:2525 {\nname new\nsubmit\nuser app "+hash+" {\ndomain b.example\n}\nmax_size 1KiB\nmax_recipients 1\n}"))
	p.talk("C: MAIL FROM:<s@a.example> SIZE=2000\nS: 552 5.3.4 *\n" + mail + "C: MAIL FROM:<s@a.example>\nS: 250 *\nC: RCPT TO:<r@x.example>\nS: 250 *\nC: RCPT TO:<q@x.example>\nS: 452 4.5.3 *\nC: RSET\nS: 250 *")
	if all := gate.Mails(); len(all) != 2 || all[0].Peer.Domain != "a.example" || all[0].Peer.Listener != "old" ||
		all[1].Peer.Domain != "b.example" || all[1].Peer.Listener != "new" || all[1].Peer.User != "app" || !all[1].Peer.Submits {
		t.Errorf("mails %+v", all)
	}

	p = begin()
	gate.SetCurrent(newDoor(t, "smtp 127.0.0.1:2525 {\nsubmit\nuser other "+hash+"\n}"))
	p.talk("C: MAIL FROM:<s@a.example>\nS: 421 4.7.0 *\nEND")

	p = dial(t, addr)
	gate.SetCurrent(newDoor(t, "smtp 127.0.0.1:2525"))
	p.talk("S: 220 *\nC: EHLO c\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250 *\nC: MAIL FROM:<s@a.example>\nS: 250 *\nC: RSET\nS: 250 *")
	gate.SetCurrent(old)
	p.talk("C: MAIL FROM:<s@a.example>\nS: 530 5.7.0 *")
	gate.SetCurrent(nil)
	p.talk("C: MAIL FROM:<s@a.example>\nS: 421 4.3.2 *\nEND")
	if n := gate.Open(); n != 0 {
		t.Errorf("%d transactions are open", n)
	}
}

// TestGateFails tells the peer what the engine says, and nothing of the cause.
func TestGateFails(t *testing.T) {
	t.Parallel()
	secret := errors.New("disk /var/lib is on fire")
	for name, tt := range map[string]struct {
		gate *mailflowtest.Gate
		talk string
	}{
		"begin": {&mailflowtest.Gate{BeginErr: mailflow.ReplyShuttingDown}, "C: MAIL FROM:<>\nS: 421 4.3.2 *\nEND"},
		"rcpt": {
			&mailflowtest.Gate{RcptErr: func(mailflow.Recipient) error { return mailflow.ReplyRelayDenied }},
			"C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<r@x.example>\nS: 550 5.7.1 Relaying denied\nC: DATA\nS: 503 *\nC: QUIT\nS: 221 *\nEND",
		},
		"commit": {
			&mailflowtest.Gate{CommitErr: secret},
			"C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<r@x.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: x\nC: .\nS: 451 4.3.0 Local error, try again later\nC: NOOP\nS: 250 *",
		},
		"refused": {
			&mailflowtest.Gate{Replies: []*mailflow.Reply{mailflow.ReplyUnknownRecipient}},
			"C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<r@x.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: x\nC: .\nS: 550 5.1.1 *",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			door := newDoor(t, "smtp 127.0.0.1:2525")
			tt.gate.SetCurrent(door)
			dial(t, serve(t, door, tt.gate)).talk("S: 220 *\nC: HELO c\nS: 250 *\n" + tt.talk)
			if n := tt.gate.Open(); n != 0 {
				t.Errorf("%d transactions are open", n)
			}
		})
	}
}
