// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/test/peer"
)

// sink is a running smtp-sink, which writes each mail that it takes to a file.
type sink struct {
	t       *testing.T
	address string
	dir     string
}

// sunk is a mail as smtp-sink took it.
type sunk struct {
	// mail and rcpts are the arguments of MAIL and RCPT.
	mail  string
	rcpts []string
	// content is what came after DATA, with LF line ends: so smtp-sink writes it.
	content string
}

// startSink starts smtp-sink on a free port.
func startSink(t *testing.T) *sink {
	t.Helper()
	program := peer.Require(t, "smtp-sink")
	// It gives up the rights of root, and has to reach its directory even so.
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o711, dir: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	s := &sink{t: t, address: freeAddress(t), dir: dir}
	args := []string{"-d", filepath.Join(dir, "mail."), s.address, "100"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await(t, "smtp-sink listens", func() bool { return listens(s.address) })
	return s
}

// listens reports whether something takes connections at the address.
func listens(address string) bool {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	return nc.Close() == nil
}

// mails returns what the sink has taken, in the order of the recipients.
func (s *sink) mails() []sunk {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []sunk
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		if m, ok := readDump(string(text)); ok {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b sunk) int { return slices.Compare(a.rcpts, b.rcpts) })
	return all
}

// dumpedReceived is how many lines of a Received field smtp-sink writes.
const dumpedReceived = 3

// readDump reads a file of smtp-sink: fields of its own with what the session
// said, its Received field, the content, and an empty line that shows that the
// mail is complete.
func readDump(text string) (m sunk, complete bool) {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "X-Mail-Args":
			m.mail = value
		case "X-Rcpt-Args":
			m.rcpts = append(m.rcpts, value)
		case "Received":
			if len(lines) < i+dumpedReceived {
				return m, false
			}
			m.content, complete = strings.CutSuffix(strings.Join(lines[i+dumpedReceived:], ""), "\n\n")
			m.content += "\n"
			return m, complete
		}
	}
	return m, false
}

// await waits until the sink has taken n mails, and returns them.
func (s *sink) await(n int) []sunk {
	s.t.Helper()
	var all []sunk
	await(s.t, "smtp-sink has every mail", func() bool {
		all = s.mails()
		return len(all) >= n
	})
	if len(all) != n {
		s.t.Fatalf("smtp-sink has %d mails, want %d", len(all), n)
	}
	return all
}

// swaks sends with swaks to a door and returns what it printed.
func swaks(t *testing.T, door string, args ...string) (transcript string, code int) {
	t.Helper()
	cmd := exec.Command(peer.Require(t, "swaks"), append([]string{"--server", door}, args...)...)
	stdout, stderr, code := run(t, cmd)
	return stdout + stderr, code
}
