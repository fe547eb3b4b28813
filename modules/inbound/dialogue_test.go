// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// peerTimeout bounds a dialogue that does not go on.
const peerTimeout = 40 * time.Second

// player is a peer that follows a script.
type player struct {
	tb   testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// dial connects a player to a door.
func dial(tb testing.TB, addr string) *player {
	tb.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(peerTimeout)); err != nil {
		tb.Fatal(err)
	}
	return &player{tb: tb, conn: conn, in: bufio.NewReader(conn)}
}

// send writes text as it stands.
func (p *player) send(text string) {
	p.tb.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.tb.Fatal(err)
	}
}

// expect reads a line of a reply; a "*" at the end of want is any rest.
func (p *player) expect(want string) {
	p.tb.Helper()
	got, err := p.in.ReadString('\n')
	if err != nil {
		p.tb.Fatalf("want %q: %v (got %q)", want, err, got)
	}
	got = strings.TrimSuffix(got, "\r\n")
	prefix, open := strings.CutSuffix(want, "*")
	if got != want && (!open || !strings.HasPrefix(got, prefix)) {
		p.tb.Fatalf("got %q, want %q", got, want)
	}
}

// end expects the connection closed.
func (p *player) end() {
	p.tb.Helper()
	if line, err := p.in.ReadString('\n'); err == nil {
		p.tb.Fatalf("got %q, want the end", line)
	}
}

// talk sends and expects in turn: lines "C: ", "S: ", and see [TestDialogues].
func (p *player) talk(script string) {
	p.tb.Helper()
	for i, line := range strings.Split(strings.Trim(script, "\n"), "\n") {
		line = strings.TrimLeft(line, "\t")
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "C:":
			p.send(text + "\r\n")
		case "C~":
			raw, err := strconv.Unquote(text)
			if err != nil {
				p.tb.Fatalf("line %d: %v", i+1, err)
			}
			p.send(raw)
		case "S:":
			p.expect(text)
		case "END":
			p.end()
		case "#", "":
		default:
			p.tb.Fatalf("line %d: %q is no line of a dialogue", i+1, line)
		}
		if p.tb.Failed() {
			p.tb.Fatalf("line %d: %s", i+1, line)
		}
	}
}

// mails returns what a gate took, a line each.
func mails(gate *mailflowtest.Gate) string {
	var b strings.Builder
	for _, m := range gate.Mails() {
		b.WriteString(m.String() + "\n")
	}
	return b.String()
}
