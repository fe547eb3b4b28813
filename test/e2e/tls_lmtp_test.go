// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLMTP delivers by LMTP on TCP and on a unix socket: what was decided about
// each recipient is told to the peer, also for one that stands twice.
func TestLMTP(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(encrypting, "", "mx.mycompany.com", `lmtp unix/lmtp.sock
		lmtp `+door+` {
			name tcp
		}
		@no {
			rcpt no@mycompany.com
			header Subject *
		}
		inbound {
			reject @no 550 5.7.1 "Not this one"
			unrouted
		}`))
	for network, address := range map[string]string{"tcp": door, "unix": filepath.Join(g.dir, "lmtp.sock")} {
		nc, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		c := &client{nc: nc, r: bufio.NewReader(nc)}
		t.Cleanup(c.close)
		step := func(line string, codes ...int) {
			t.Helper()
			if err := c.write([]byte(line)); err != nil {
				t.Fatal(err)
			}
			for i, code := range codes {
				a, err := c.read()
				if err != nil || a.code != code {
					t.Fatalf("%s: after %.80q reply %d is %v (%v), want %d", network, line, i, a, err, code)
				}
			}
		}
		step("", 220)
		step("EHLO c\r\nLHLO c\r\n", 500, 250)
		step("MAIL FROM:<x@elsewhere.example>\r\nRCPT TO:<yes@mycompany.com>\r\nRCPT TO:<no@mycompany.com>\r\nRCPT TO:<YES@mycompany.com>\r\n"+
			"RCPT TO:<bob@example.net>\r\nDATA\r\n", 250, 250, 250, 250, 550, 354)
		step("Subject: "+network+"\r\n\r\nhello\r\n.\r\n", 250, 550, 250)
		step("QUIT\r\n", 221)
		await(t, "the mail is in the unrouted box", func() bool {
			stdout, _, _ := g.run("mail", "unrouted", "list")
			return strings.Contains(stdout, "yes@mycompany.com") && strings.Contains(stdout, " "+network)
		})
	}
}

// TestManyConnections opens as many connections at once as a benchmark does,
// from this machine: none is refused, and mail comes in meanwhile.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	const crowd = 2000
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(encrypting, "", "mx.mycompany.com", "smtp "+door))
	for i := range crowd {
		nc, err := net.DialTimeout("tcp", door, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if i%100 != 0 {
			continue
		}
		c := &client{nc: nc, r: bufio.NewReader(nc)}
		if err := c.greet(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	began := time.Now()
	mustDial(t, door).mustSend(t, mailOf("in-a-crowd"))
	t.Logf("beside %d connections a mail takes %v", crowd, time.Since(began))
	if !g.ready() {
		t.Error("the gateway is not ready")
	}
}
