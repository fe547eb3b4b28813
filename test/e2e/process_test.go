// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// capturing is a gateway that keeps what it gets.
const capturing = `{
	mail {
		store sqlite %s
		domain mycompany.com
		smtp %s
	}
}
`

// TestSecondProcess starts a second gateway on the store of a running one: it
// is refused, says why, and the first one goes on.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	store, door := filepath.Join(t.TempDir(), "store"), freeAddress(t)
	first := startGateway(t, fmt.Sprintf(capturing, store, door))

	second := newGateway(t, fmt.Sprintf(capturing, store, freeAddress(t)))
	_, stderr, code := second.run("run", "--config", "Caddyfile")
	if code == 0 || !strings.Contains(stderr, store) || !regexp.MustCompile(`another (process|mailcaddy)|in use|is locked`).MatchString(stderr) {
		t.Errorf("the second process: exit %d, want a refusal that names %s and says that another process uses it\n%s", code, store, stderr)
	}
	mustDial(t, door).mustSend(t, mailOf("after"))
	first.awaitCaptured("anna@mycompany.com")

	// The store is free as soon as its owner is gone.
	first.kill()
	second.start()
	second.awaitReady()
	second.awaitCaptured("anna@mycompany.com")
}

// TestValidateTouchesNothing validates a configuration beside the gateway that
// runs it, and one whose store is not there yet.
func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(capturing, "data-of-mail", door))
	mustDial(t, door).mustSend(t, mailOf("before"))
	g.awaitCaptured("anna@mycompany.com")

	before := snapshot(t, filepath.Join(g.dir, "data-of-mail"))
	if _, stderr, code := g.run("validate", "--config", "Caddyfile"); code != 0 {
		t.Errorf("validate: exit %d\n%s", code, stderr)
	}
	if after := snapshot(t, filepath.Join(g.dir, "data-of-mail")); !maps.Equal(before, after) {
		t.Errorf("validate changed the store:\n%v\nbefore:\n%v", after, before)
	}
	if !g.ready() {
		t.Error("after validate the gateway is not ready")
	}

	other := filepath.Join(g.dir, "Caddyfile.other")
	if err := os.WriteFile(other, []byte(fmt.Sprintf(capturing, "new-store", freeAddress(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := g.run("validate", "--adapter", "caddyfile", "--config", other); code != 0 {
		t.Errorf("validate of a new store: exit %d\n%s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "new-store")); err == nil {
		t.Error("validate made the directory of a store")
	}
}

// snapshot returns the size, time and content of everything below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Size(), " ", info.ModTime())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTestOutgoing tries outgoing servers with the command.
func TestTestOutgoing(t *testing.T) {
	t.Parallel()
	far, closed := startSink(t), freeAddress(t)
	g := startGateway(t, fmt.Sprintf(twoServers, far.address, closed, freeAddress(t)))

	report, code := g.test("billing")
	if code != 0 || !report.OK {
		t.Errorf("the test of a server that works: exit %d, %+v", code, report)
	}
	var names []string
	for _, step := range report.Steps {
		names = append(names, step.Name)
		if step.Error != "" || step.Took < 0 {
			t.Errorf("step %+v, want one without error", step)
		}
	}
	for _, name := range []string{"connect", "ehlo", "mail", "rcpt"} {
		if !slices.Contains(names, name) {
			t.Errorf("the steps are %q, want %s among them", names, name)
		}
	}
	if len(report.Unproven) == 0 {
		t.Error("the test does not say what it did not show")
	}
	if got := far.mails(); len(got) > 0 {
		t.Errorf("the test sent %d mails", len(got))
	}

	report, code = g.test("everything")
	if code != 1 || report.OK || len(report.Steps) == 0 {
		t.Fatalf("the test of a closed port: exit %d, %+v, want exit 1", code, report)
	}
	last := report.Steps[len(report.Steps)-1]
	if last.Name != "connect" || last.Error == "" || last.Hint == "" {
		t.Errorf("the last step is %+v, want connect with an error and a hint", last)
	}

	stdout, stderr, code := g.run("mail", "test", "outgoing", "nobody")
	if code != 1 || !strings.Contains(stderr, "nobody") {
		t.Errorf("the test of a server that is not there: exit %d, %s%s", code, stdout, stderr)
	}
}

// test returns what `mail test outgoing --json` prints.
func (g *gateway) test(name string) (report mailflow.TestReport, code int) {
	g.t.Helper()
	stdout, stderr, code := g.run("mail", "test", "outgoing", name, "--json")
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		g.t.Fatalf("mail test outgoing %s: exit %d, %v\n%s%s", name, code, err, stdout, stderr)
	}
	return report, code
}
