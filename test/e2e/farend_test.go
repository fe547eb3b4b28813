// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const oneServer = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		queue {
			concurrency %d
		}
		smtp %s
	}
}
`

// submitMany submits n mails over several connections; the recipients are
// 0@example.net and so on. All of them must be taken.
func submitMany(t *testing.T, door string, n int) {
	t.Helper()
	const clients = 10
	work := make(chan int)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			c, err := dial(door)
			if err != nil {
				t.Error(err)
			} else {
				defer c.quit()
			}
			for i := range work {
				if err != nil {
					continue
				}
				m := mailOf(fmt.Sprint(i))
				if a, err := c.send(m); err != nil || a.code != 250 {
					t.Errorf("sending to %s: %v, %v", m.to, a, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
}

// mailOf returns a short mail to name@example.net with name as its subject.
func mailOf(name string) submission {
	return submission{
		from: "anna@mycompany.com", to: name + "@example.net",
		content: "From: anna@mycompany.com\r\nMessage-Id: <" + name + "@client.example>\r\nSubject: " + name + "\r\n\r\nHello.\r\n",
	}
}

// checkOnce reports the mails among n that did not come, or came twice.
func checkOnce(t *testing.T, got []mailflowtest.RelayMessage, n int) {
	t.Helper()
	times := make(map[string]int)
	for _, m := range got {
		for _, rcpt := range m.Rcpt {
			times[rcpt]++
		}
	}
	for i := range n {
		if rcpt := fmt.Sprintf("<%d@example.net>", i); times[rcpt] != 1 {
			t.Errorf("the mail to %s came %d times, want once", rcpt, times[rcpt])
		}
	}
	if len(got) != n {
		t.Errorf("%d mails came, want %d", len(got), n)
	}
}

// TestFarEndDown accepts mail while the server cannot be reached. When it is
// back, all of it goes out soon, once, and with no command.
func TestFarEndDown(t *testing.T) {
	t.Parallel()
	const n = 500
	far := new(mailflowtest.Relay)
	way := newGate(t, far.Start(t))
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(oneServer, way.address, 20, door))

	submitMany(t, door, n)
	await(t, "the server is known to be down", func() bool {
		return slices.Equal(g.health().Down, []string{"far"})
	})
	list := g.queue("--limit", fmt.Sprint(2*n))
	attempts, waiting := 0, 0
	for _, d := range list {
		attempts += d.Attempts
		if slices.Contains([]string{"queued", "deferred", "sending"}, d.State) {
			waiting++
		}
	}
	if waiting != n {
		t.Errorf("%d deliveries wait, want %d", waiting, n)
	}
	if attempts > n/2 {
		t.Errorf("%d attempts were made while the server was down: one of them probes, the others wait", attempts)
	}
	if got := far.Messages(); len(got) > 0 {
		t.Fatalf("%d mails came through a closed gate", len(got))
	}

	way.open()
	opened := time.Now()
	await(t, "all mail has come", func() bool { return len(far.Messages()) >= n })
	t.Logf("%d mails came %v after the server was back; %d attempts before", n, time.Since(opened).Round(time.Millisecond), attempts)
	await(t, "the queue is empty", func() bool { return g.open() == 0 })
	checkOnce(t, far.Messages(), n)
}
