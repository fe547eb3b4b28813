// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const (
	// reloads is how often the configuration is loaded anew.
	reloads = 20
	// reloadClients is how many clients submit meanwhile: half of them keep
	// their connection, the others open one for each mail.
	reloadClients = 8
	// betweenReloads is how many mails are taken between two of them.
	betweenReloads = 20
)

// TestReloadKeeps loads other configurations while clients submit: no
// connection is refused or reset, no mail is lost or doubled, and a session
// that began before finishes after.
func TestReloadKeeps(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	address, door := far.Start(t), freeAddress(t)
	config := func(i int) string { return fmt.Sprintf(oneServer, address, 1+i%10, door) }
	g := startGateway(t, config(0))

	early := mustDial(t, door)
	half := mailOf("early")
	if err := early.write([]byte(half.envelope() + "DATA\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{250, 250, 354} {
		if a, err := early.read(); err != nil || a.code != want {
			t.Fatalf("%v, %v, want %d", a, err, want)
		}
	}
	if err := early.write([]byte(half.content[:40])); err != nil {
		t.Fatal(err)
	}

	var next, taken atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range reloadClients {
		clients.Go(func() { submitUntil(t, door, stop, &next, &taken, i%2 == 0) })
	}
	for i := range reloads {
		await(t, "mail is taken between reloads", func() bool { return taken.Load() >= int64(i*betweenReloads) || t.Failed() })
		g.load(config(i + 1))
	}
	close(stop)
	clients.Wait()

	if err := early.write([]byte(half.content[40:] + ".\r\n")); err != nil {
		t.Fatal(err)
	}
	if a, err := early.read(); err != nil || a.code != 250 {
		t.Errorf("the session that began before the reloads: %v, %v", a, err)
	}
	early.mustSend(t, mailOf("early-again"))

	n := int(next.Load())
	await(t, "the queue is empty", func() bool { return g.open() == 0 })
	var got []mailflowtest.RelayMessage
	earlier := 0
	for _, m := range far.Messages() {
		if m.Rcpt[0] == "<early@example.net>" || m.Rcpt[0] == "<early-again@example.net>" {
			earlier++
			continue
		}
		got = append(got, m)
	}
	if earlier != 2 {
		t.Errorf("%d mails of the early session came, want 2", earlier)
	}
	checkOnce(t, got, n)
	t.Logf("%d reloads, %d mails", reloads, n)

	// A session keeps the configuration that it began with.
	early.quit()
	await(t, "the older generations are gone", func() bool { return g.health().Generations == 1 })
}

// load has the gateway load a configuration. Each load replaces the admin
// endpoint as well, which loses requests at times; they are sent again.
func (g *gateway) load(caddyfile string) {
	g.t.Helper()
	await(g.t, "the configuration is loaded", func() bool {
		status, answer, err := g.ask(http.MethodPost, "/load", []byte(caddyfile))
		if err == nil && status != http.StatusOK {
			g.t.Fatalf("loading: %d %s", status, answer)
		}
		return err == nil
	})
}

// submitUntil is a client that submits until stop is closed. Each mail must be
// taken.
func submitUntil(t *testing.T, door string, stop <-chan struct{}, next, taken *atomic.Int64, keeps bool) {
	t.Helper()
	var c *client
	defer func() {
		if c != nil {
			c.quit()
		}
	}()
	for {
		select {
		case <-stop:
			return
		default:
		}
		if c == nil {
			var err error
			if c, err = dial(door); err != nil {
				t.Errorf("connecting: %v", err)
				return
			}
		}
		m := mailOf(fmt.Sprint(next.Add(1) - 1))
		if a, err := c.send(m); err != nil || a.code != 250 {
			t.Errorf("sending to %s: %v, %v", m.to, a, err)
			return
		}
		taken.Add(1)
		if !keeps {
			c.quit()
			c = nil
		}
	}
}
