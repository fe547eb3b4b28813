// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestStop asks the process to end while a message comes in: that one is taken,
// a session that waits is told to go, no new one begins, and what was
// acknowledged is delivered by the next process.
func TestStop(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	way := newGate(t, far.Start(t))
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(oneServer, way.address, 20, door))

	idle, busy := mustDial(t, door), mustDial(t, door)
	idle.mustSend(t, mailOf("0"))
	busy.begin(t, mailOf("1"), 40)
	if err := g.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	await(t, "the door is closed", func() bool { return !listens(door) })
	if a, err := busy.finish(mailOf("1"), 40); err != nil || a.code != 250 {
		t.Errorf("the message under way: %v, %v", a, err)
	}
	if a, err := idle.read(); err != nil || a.code != 421 {
		t.Errorf("the session that waits is told %v, %v, want 421", a, err)
	}
	<-g.ended
	g.kill()

	way.open()
	g.start()
	g.awaitReady()
	await(t, "both mails have come", func() bool { return len(far.Messages()) >= 2 })
	await(t, "the queue is empty", func() bool { return g.open() == 0 })
	checkOnce(t, far.Messages(), 2)
}

// begin submits m up to the first n bytes of its content.
func (c *client) begin(t *testing.T, m submission, n int) {
	t.Helper()
	if err := c.write([]byte(m.envelope() + "DATA\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{250, 250, 354} {
		if a, err := c.read(); err != nil || a.code != want {
			t.Fatalf("%v, %v, want %d", a, err, want)
		}
	}
	if err := c.write([]byte(m.content[:n])); err != nil {
		t.Fatal(err)
	}
}

// finish goes on where begin ended.
func (c *client) finish(m submission, n int) (answer, error) {
	if err := c.write(append([]byte(m.content[n:]), ".\r\n"...)); err != nil {
		return answer{}, err
	}
	return c.read()
}
