// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// guardedConfig has a door for the one who behaves, and one behind a proxy
// that shuts an address out when three of its logins have failed.
const guardedConfig = `{
	skip_install_trust
	local_certs
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		smtp %s
		smtp %s {
			tls starttls
			submit 192.0.2.0/24
			user app %s
			max_auth_failures 3
			listener_wrappers {
				proxy_protocol {
					timeout 5m
					allow 127.0.0.0/8
				}
			}
		}
	}
}
`

// guarded is a fortress with such a door.
type guarded struct {
	*fortress
	logins string
}

// login tries to log in from that address, on a connection of its own, and
// returns the session and the answer.
func (g *guarded) login(peer, password string) (*client, answer, error) {
	c, err := dialProxy(g.logins, peer)
	if err != nil {
		return nil, answer{}, err
	}
	if err := c.startTLS(g.trusting("mx.mycompany.com")); err != nil {
		c.close()
		return nil, answer{}, err
	}
	a, err := c.command(plainLogin(password))
	return c, a, err
}

// expect checks the answer to a login.
func (g *guarded) expect(t *testing.T, peer, password string, code int) {
	t.Helper()
	c, a, err := g.login(peer, password)
	if c != nil {
		defer c.close()
	}
	if err != nil || a.code != code {
		t.Errorf("a login from %s with the password %s: %v, %v, want %d", peer, password, a, err, code)
		return
	}
	if code != 421 {
		return
	}
	if a, err := c.read(); err == nil {
		t.Errorf("behind 421 there came %v", a)
	}
}

// TestHostileGuessingAcross guesses passwords from one address on connection
// after connection: then its logins are not looked at any more, also after a
// reload. Its neighbours, this machine and trusted networks log in as ever.
func TestHostileGuessingAcross(t *testing.T) {
	t.Parallel()
	const failures = 3
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{logins: freeAddress(t)}
	g.fortress = newFortressOf(t, guardedConfig, g.logins, string(hash))
	await(t, "STARTTLS is offered", func() bool {
		c := mustDialProxy(t, g.logins, "203.0.113.1")
		defer c.quit()
		return c.offersTLS()
	})
	guessers := []func(i int) string{
		func(int) string { return "203.0.113.9" },
		func(i int) string { return fmt.Sprintf("2001:db8:0:1::%d", i) }, // all of a /64
	}
	exempt := []string{"192.0.2.7", "127.0.0.1", "::1"}
	g.besiege(t, maxGrowth, func() {
		together(len(guessers)+len(exempt), func(i int) {
			if i < len(guessers) {
				for n := range failures {
					g.expect(t, guessers[i](n), fmt.Sprint("wrong", n), 535)
				}
				return
			}
			together(2*failures, func(n int) { g.expect(t, exempt[i-len(guessers)], fmt.Sprint("wrong", n), 535) })
		})
		check := func() {
			for _, from := range guessers {
				g.expect(t, from(failures), "right", 421)
				g.expect(t, from(failures+1), "wrong", 421)
			}
			for _, peer := range append(exempt, "203.0.113.8", "2001:db8:0:2::1") {
				g.expect(t, peer, "right", 235)
			}
		}
		check()
		config, err := os.ReadFile(filepath.Join(g.dir, "Caddyfile"))
		if err != nil {
			t.Fatal(err)
		}
		g.load(strings.Replace(string(config), "max_auth_failures", "max_recipients 50\n max_auth_failures", 1))
		check()

		c, a, err := g.login("203.0.113.8", "right")
		if err != nil || a.code != 235 {
			t.Fatalf("a user of the same door: %v, %v", a, err)
		}
		defer c.quit()
		m := mailOf("user")
		c.mustSend(t, m)
		g.acknowledged(m.to)
	})
	g.checkLedger(t)
}
