// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// The tests named Hostile have peers that mean harm, or are out of their mind.
// Whatever these do, the one who behaves gets its 250 soon, the process stays
// small, and what is stored is what was acknowledged.

const (
	// promptly is how long a client that behaves waits at most for all of a
	// mail while others do not: loaded machines are slow, blocked ones stand.
	promptly = 30 * time.Second
	// maxGrowth is how much a siege may add to the memory of the gateway at
	// any moment. Each siege sends several times as much.
	maxGrowth = 64 << 20
	// underRace is how much more the race detector takes, and some. The tests
	// also run without it, where the bounds hold as they stand.
	underRace = 6
	// bystanderPause lies between two mails of the client that behaves.
	bystanderPause = 100 * time.Millisecond
)

const hostileConfig = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		smtp %s {
			max_size 1MiB
		}
	}
}
`

// fortress is a gateway under siege, with the far end that all its mail goes
// to.
type fortress struct {
	*gateway
	far  *mailflowtest.Relay
	door string

	mu   sync.Mutex
	sent map[string]bool // the paths of the recipients of all mail with a 250
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	return newFortressOf(t, hostileConfig)
}

// newFortressOf starts one with another Caddyfile, which has the address of the
// far end, that of the door, and more.
func newFortressOf(t *testing.T, caddyfile string, more ...any) *fortress {
	t.Helper()
	f := &fortress{far: new(mailflowtest.Relay), door: freeAddress(t), sent: make(map[string]bool)}
	f.gateway = startGateway(t, fmt.Sprintf(caddyfile, append([]any{f.far.Start(t), f.door}, more...)...))
	mustDial(t, f.door).mustSend(t, mailOf("warm-up"))
	f.acknowledged("warm-up@example.net")
	return f
}

// acknowledged notes that a mail to that recipient got its 250.
func (f *fortress) acknowledged(rcpt string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent["<"+rcpt+">"] = true
}

// besiege runs attack while a client that behaves sends one mail after the
// other. It fails the test if that one is kept waiting, or if the gateway grows
// beyond the bound.
func (f *fortress) besiege(t *testing.T, bound int64, attack func()) {
	t.Helper()
	before, measured := f.memory(t)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if err := f.behave(over); err != nil {
			t.Errorf("the client that behaves: %v", err)
		}
	}()
	attack()
	close(over)
	<-done
	if !measured {
		return
	}
	if raceEnabled {
		bound *= underRace
	}
	peak, _ := f.peak(t)
	t.Logf("memory: %d MiB before, %d MiB at most", before>>20, peak>>20)
	if peak-before > bound {
		t.Errorf("the gateway grew by %d MiB, want at most %d", (peak-before)>>20, bound>>20)
	}
}

// behave sends mails until over is closed, and one more.
func (f *fortress) behave(over <-chan struct{}) error {
	name := "good" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for i := 0; ; i++ {
		last := false
		select {
		case <-over:
			last = true
		case <-time.After(bystanderPause):
		}
		m := mailOf(fmt.Sprintf("%s-%d", name, i))
		began := time.Now()
		if err := f.submit(m); err != nil {
			return err
		}
		if took := time.Since(began); took > promptly {
			return fmt.Errorf("mail %d took %v", i, took)
		}
		if last {
			return nil
		}
	}
}

// submit sends m on a connection of its own.
func (f *fortress) submit(m submission) error {
	c, err := dial(f.door)
	if err != nil {
		return err
	}
	defer c.quit()
	a, err := c.send(m)
	if err != nil {
		return err
	}
	if a.code != 250 {
		return fmt.Errorf("%v", a)
	}
	f.acknowledged(m.to)
	return nil
}

// checkLedger fails the test unless the mails with a 250 are exactly those that
// the gateway knows and the far end has, each once, with clean lines.
func (f *fortress) checkLedger(t *testing.T) {
	t.Helper()
	await(t, "the queue is empty", func() bool { return f.open() == 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.health().Queue["sent"]; got != len(f.sent) {
		t.Errorf("the ledger has %d sent deliveries, want %d", got, len(f.sent))
	}
	times := make(map[string]int)
	for _, m := range f.far.Messages() {
		for _, rcpt := range m.Rcpt {
			times[rcpt]++
			if !f.sent[rcpt] {
				t.Errorf("a mail to %s came that nobody was told 250 for: %.300q", rcpt, m.Content)
			}
		}
		clean := bytes.ReplaceAll(m.Content, []byte("\r\n"), nil)
		if bytes.ContainsAny(clean, "\r\n\x00") {
			t.Errorf("a mail to %q came with a bare CR, a bare LF or NUL", m.Rcpt)
		}
	}
	for rcpt := range f.sent {
		if times[rcpt] != 1 {
			t.Errorf("the mail to %s came %d times, want once", rcpt, times[rcpt])
		}
	}
}

// memory returns the resident memory of the gateway in bytes, and has its peak
// start from there. It cannot be measured everywhere.
func (f *fortress) memory(t *testing.T) (rss int64, ok bool) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0, false
	}
	if err := os.WriteFile(f.proc("clear_refs"), []byte("5"), 0o200); err != nil {
		t.Fatal(err)
	}
	return f.status(t, "VmRSS"), true
}

// peak returns the most resident memory that the gateway had since memory.
func (f *fortress) peak(t *testing.T) (rss int64, ok bool) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0, false
	}
	return f.status(t, "VmHWM"), true
}

// proc returns the path of a file about the gateway's process.
func (f *fortress) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(f.cmd.Process.Pid), name)
}

// status returns a field of the process's status, in bytes.
func (f *fortress) status(t *testing.T, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(f.proc("status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("the process has no %s", field)
	return 0
}

// deliveries returns what /mail/queue shows for a query, which is cheaper than
// the command.
func (g *gateway) deliveries(query string) []delivery {
	g.t.Helper()
	var list []delivery
	g.get("/mail/queue?"+query, &list)
	return list
}

// flood writes piece over and over until n bytes are written or the peer has
// closed, and returns how much it wrote.
func flood(w io.Writer, piece []byte, n int) int {
	written := 0
	for written < n {
		k, err := w.Write(piece[:min(len(piece), n-written)])
		written += k
		if err != nil {
			return written
		}
	}
	return written
}

// codes reads replies until the gateway closes the connection, and returns
// their codes. What does not close in time is an error.
func (c *client) codes() ([]int, error) {
	var all []int
	for {
		a, err := c.read()
		var timeout net.Error
		switch {
		case err == nil:
			all = append(all, a.code)
		case errors.As(err, &timeout) && timeout.Timeout():
			return all, fmt.Errorf("after %v the connection is open", patience)
		default:
			return all, nil
		}
	}
}
