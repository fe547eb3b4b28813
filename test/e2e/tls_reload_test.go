// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTLSReload loads configurations, some of which fail after the gateway has
// started, while clients encrypt: no handshake fails, and no mail is refused.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	const loads, perLoad, clients = 12, 10, 4
	door, occupied := freeAddress(t), holdAddress(t)
	config := func(i int) string {
		return fmt.Sprintf(encrypting, ownCA, "mx.mycompany.com", fmt.Sprintf("smtp %s {\n tls starttls\n max_recipients %d\n}", door, 10+i))
	}
	g := startGateway(t, config(0))
	awaitTLS(t, door)
	trusting := g.trusting("mx.mycompany.com")

	var sent atomic.Int64
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range clients {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := dial(door)
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				if err := c.startTLS(trusting); err != nil {
					t.Errorf("STARTTLS: %v", err)
					return
				}
				if a, err := c.send(mailOf("reload")); err != nil || a.code != 250 {
					t.Errorf("sending: %v, %v", a, err)
					return
				}
				c.quit()
				sent.Add(1)
			}
		})
	}
	for i := range loads {
		await(t, "mail is taken between loads", func() bool { return sent.Load() >= int64(i*perLoad) || t.Failed() })
		if i%3 == 2 {
			g.loadBad(config(i) + "http://" + occupied + " {\n\trespond hello\n}\n")
		}
		g.load(config(i + 1))
	}
	close(stop)
	group.Wait()
	t.Logf("%d loads, %d encrypted mails", loads, sent.Load())
}

// TestProxyReload puts a PROXY protocol before a door that is open, and takes
// it away again: each connection has what the configuration says that it came
// under, and the address it said is what later ones judge it by.
func TestProxyReload(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	config := func(doors string) string {
		return fmt.Sprintf(encrypting, "", "mx.mycompany.com", "smtp "+door+" "+doors)
	}
	wrapped := "{\n receive\n submit 192.0.2.0/24\n listener_wrappers {\n proxy_protocol {\n timeout 5m\n allow 127.0.0.0/8\n }\n }\n }"
	g := startGateway(t, config(""))
	plain := mustDial(t, door)
	g.load(config(wrapped))
	if a, err := plain.send(mailOf("plain")); err != nil || a.code != 550 {
		t.Errorf("loopback is trusted no longer: %v, %v", a, err)
	}
	behind := mustDialProxy(t, door, "192.0.2.7")
	behind.mustSend(t, mailOf("behind"))
	stranger := mustDialProxy(t, door, "198.51.100.7")
	if a, err := stranger.send(mailOf("stranger")); err != nil || a.code != 550 {
		t.Errorf("a stranger submits: %v, %v", a, err)
	}
	g.load(config(strings.Replace(wrapped, "192.0.2.0/24", "198.51.100.0/24", 1)))
	if a, err := behind.send(mailOf("behind")); err != nil || a.code != 550 {
		t.Errorf("a network that was taken away submits: %v, %v", a, err)
	}
	stranger.mustSend(t, mailOf("stranger"))
	g.load(config(""))
	mustDial(t, door).mustSend(t, mailOf("plain"))
	if a, err := behind.send(mailOf("behind")); err != nil || a.code != 550 {
		t.Errorf("a peer from elsewhere passes for this machine: %v, %v", a, err)
	}
}

// mustDialProxy connects as a proxy does for a peer of that address.
func mustDialProxy(t *testing.T, door, peer string) *client {
	t.Helper()
	c, err := dialProxy(door, peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// dialProxy is mustDialProxy for other goroutines than that of the test.
func dialProxy(door, peer string) (*client, error) {
	c, err := connect(door)
	if err != nil {
		return nil, err
	}
	header := "PROXY TCP4 " + peer + " 192.0.2.200 40000 25\r\n"
	if strings.Contains(peer, ":") {
		header = "PROXY TCP6 " + peer + " 2001:db8:ffff::25 40000 25\r\n"
	}
	if err := errors.Join(c.write([]byte(header)), c.greet()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// connect connects to a door and says nothing.
func connect(door string) (*client, error) {
	nc, err := net.DialTimeout("tcp", door, patience)
	if err != nil {
		return nil, err
	}
	return &client{nc: nc, r: bufio.NewReader(nc)}, nil
}
