// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestCrowd lets many peers send, hang up in the middle and reset at once: no
// transaction stays open, and what got 250 is there once.
func TestCrowd(t *testing.T) {
	t.Parallel()
	const peers, rounds = 30, 10
	door := newDoor(t, "smtp 127.0.0.1:2525")
	gate := new(mailflowtest.Gate)
	gate.SetCurrent(door)
	addr := serve(t, door, gate)
	half := []string{
		"EHLO c\r\nMAIL FROM:<s@x.example>\r\n",
		"EHLO c\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nDATA\r\nhalf",
		"EHLO c\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nBDAT 3\r\na\r\n",
		"EHLO c\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nBDAT 3 LAST\r\na",
	}
	var wg sync.WaitGroup
	for i := range peers {
		wg.Go(func() {
			for j := range rounds {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, half[(i+j)%len(half)])
				if j%2 == 0 {
					_ = conn.(*net.TCPConn).SetLinger(0) // a reset
				}
				_ = conn.Close()
				p := dial(t, addr)
				p.talk(fmt.Sprintf("S: 220 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<p%d.%d@x.example>\nS: 250 *\nC: RCPT TO:<r@a.example>\nS: 250 *\nC: DATA\nS: 354 *\nC: x\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nEND", i, j))
			}
		})
	}
	wg.Wait()
	seen := make(map[string]int)
	for _, m := range gate.Mails() {
		if !strings.HasPrefix(m.Content, "x") {
			t.Errorf("content %q", m.Content)
		}
		seen[m.Envelope.From.String()]++
	}
	if len(seen) != peers*rounds {
		t.Errorf("%d mails, want %d", len(seen), peers*rounds)
	}
	ctx, cancel := context.WithTimeout(t.Context(), peerTimeout)
	defer cancel()
	for tick := time.NewTicker(time.Millisecond); gate.Open() != 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d transactions are open", gate.Open())
		}
	}
}
