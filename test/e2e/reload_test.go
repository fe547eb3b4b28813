// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const (
	// reloads is how often the configuration is loaded anew. Before every tenth
	// another is loaded that must fail, three of them because another app does.
	reloads = 100
	// reloadClients is how many clients submit meanwhile: half of them keep
	// their connection, the others open one for each mail.
	reloadClients = 24
	// betweenReloads is how many mails are taken between two of them.
	betweenReloads = 20
)

// TestReloadKeeps loads other configurations, some of which fail, while clients submit: no
// connection is refused or reset, no mail is lost or doubled, a session that
// began before finishes after, and there is one queue runner all the time.
func TestReloadKeeps(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	address, door := far.Start(t), freeAddress(t)
	config := func(i int) string { return fmt.Sprintf(oneServer, address, 1+i%10, door) }
	g := startGateway(t, config(0))

	early := mustDial(t, door)
	early.begin(t, mailOf("early"), 40)

	occupied := holdAddress(t)
	bad := []func(string) string{
		func(c string) string { return strings.Replace(c, "queue {", "queue {\n\t\t\tno_such_option", 1) },
		func(c string) string { return c + "http://" + occupied + " {\n\trespond hello\n}\n" },
		func(c string) string { return strings.Replace(c, "smtp "+door, "smtp "+door+" "+occupied, 1) },
		func(c string) string {
			return strings.Replace(c, "store sqlite data", "store sqlite Caddyfile/below", 1)
		},
	}

	var next, taken atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range reloadClients {
		clients.Go(func() { submitUntil(t, door, stop, &next, &taken, i%2 == 0) })
	}
	for i := range reloads {
		await(t, "mail is taken between reloads", func() bool { return taken.Load() >= int64(i*betweenReloads) || t.Failed() })
		if i%10 == 0 {
			g.loadBad(bad[(i/10+1)%len(bad)](config(i + 1)))
			g.checkRunner()
		}
		g.load(config(i + 1))
		g.checkRunner()
	}
	close(stop)
	clients.Wait()

	if a, err := early.finish(mailOf("early"), 40); err != nil || a.code != 250 {
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
	// The far end takes all at once: who is named to it twice, was tried twice.
	tries := make(map[string]int)
	for _, line := range far.Commands() {
		if strings.HasPrefix(line, "RCPT ") {
			tries[line]++
		}
	}
	if len(tries) != n+2 {
		t.Errorf("%d recipients were named to the far end, want %d", len(tries), n+2)
	}
	for line, k := range tries {
		if k != 1 {
			t.Errorf("%s was said %d times to the far end, want one attempt", line, k)
		}
	}
	t.Logf("%d reloads, %d mails", reloads, n)

	// A session keeps the configuration that it began with.
	early.quit()
	await(t, "the older generations are gone", func() bool { return g.health().Generations == 1 })
}

// checkRunner fails the test unless one goroutine of the gateway runs the queue,
// and one finishes what it has sent.
func (g *gateway) checkRunner() {
	g.t.Helper()
	var status int
	var stacks []byte
	await(g.t, "the goroutines are shown", func() (answered bool) {
		var err error
		status, stacks, err = g.ask(http.MethodGet, "/debug/pprof/goroutine?debug=2", nil)
		return err == nil
	})
	for _, loop := range []string{"/internal/engine.(*runner).keep(", "/internal/engine.(*finisher).run("} {
		if n := bytes.Count(stacks, []byte(loop)); status != http.StatusOK || n != 1 {
			g.t.Errorf("%d goroutines are in %s) (status %d), want one", n, loop, status)
		}
	}
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

// loadBad has the gateway load a configuration that must be refused.
func (g *gateway) loadBad(caddyfile string) {
	g.t.Helper()
	await(g.t, "the configuration is refused", func() bool {
		status, _, err := g.ask(http.MethodPost, "/load", []byte(caddyfile))
		if err == nil && status == http.StatusOK {
			g.t.Fatalf("a configuration was loaded that cannot work:\n%s", caddyfile)
		}
		return err == nil
	})
}

// holdAddress listens at an address, so that nobody else can.
func holdAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

const movingServers = `{
	mail {
		store sqlite %s
		domain mycompany.com
		outgoing %s {
			via smtp %s {
				tls off
			}
		}
		smtp %s
	}
}
`

// TestReloadServers changes the configuration under mail that waits: its store
// cannot be taken away, and when its server is, another one is chosen.
func TestReloadServers(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	address, closed, door := far.Start(t), freeAddress(t), freeAddress(t)
	g := startGateway(t, fmt.Sprintf(movingServers, "data", "old", closed, door))
	mustDial(t, door).mustSend(t, mailOf("0"))
	await(t, "the server is known to be down", func() bool { return len(g.health().Down) > 0 })

	elsewhere := fmt.Sprintf(movingServers, "other-data", "old", address, door)
	status, answer, err := g.ask(http.MethodPost, "/load", []byte(elsewhere))
	if err != nil || status == http.StatusOK || !strings.Contains(string(answer), "undelivered mail") {
		t.Errorf("a change of store with mail in the queue: %d %s %v, want a refusal", status, answer, err)
	}
	if list := g.queue(); len(list) != 1 || list[0].Server != "old" {
		t.Errorf("after the refusal the queue is %+v", list)
	}

	g.load(fmt.Sprintf(movingServers, "data", "new", address, door))
	await(t, "the mail has come", func() bool { return len(far.Messages()) > 0 })
	await(t, "the queue is empty", func() bool { return g.open() == 0 })
	checkOnce(t, far.Messages(), 1)
	if list := g.queue(); len(list) != 1 || list[0].Server != "new" || list[0].State != "sent" {
		t.Errorf("in the end the queue is %+v, want one delivery that new has sent", list)
	}
	g.load(elsewhere)
	if list := g.queue(); len(list) != 0 {
		t.Errorf("the new store holds %+v", list)
	}
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
