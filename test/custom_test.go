// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"context"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// customPage is the page about custom modules; its code is customModule's.
const (
	customPage   = "../docs/custom-modules.md"
	customModule = "thirdparty"
	xcaddyModule = "github.com/caddyserver/xcaddy"
)

// pageFence finds the fences of the page: their language and their text.
var pageFence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// customFences returns the fences of the page in their order.
func customFences(t *testing.T) [][]string {
	t.Helper()
	text := readFile(t, customPage)
	found := pageFence.FindAllStringSubmatch(text, -1)
	if n := strings.Count(text, "\n```"); n != 2*len(found) || n == 0 {
		t.Fatalf("%s has %d fences, of which %d could be read", customPage, n/2, len(found))
	}
	return found
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCustomPage holds the code of the page to that of the module: every piece
// is an excerpt of a file there, and the pieces of the handler are all of it.
func TestCustomPage(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, pattern := range []string{"/*.go", "/*/*.go"} {
		names, err := filepath.Glob(customModule + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			sources = append(sources, readFile(t, name))
		}
	}
	handler := readFile(t, customModule+"/ticket.go")
	var ofHandler []string
	for _, fence := range customFences(t) {
		piece := fence[2]
		if fence[1] != "go" {
			continue
		}
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, "\n"+piece) }) {
			t.Errorf("%s shows what is not in %s:\n%s", customPage, customModule, piece)
		}
		if strings.Contains(handler, piece) {
			ofHandler = append(ofHandler, piece)
		}
	}
	_, whole, _ := strings.Cut(handler, "\n\n") // without the licence
	if got := strings.Join(ofHandler, "\n"); got != whole {
		t.Errorf("%s does not show all of ticket.go in its order, but\n%s", customPage, got)
	}
	version := pinnedXcaddy(t)
	if install := "go install " + xcaddyModule + "/cmd/xcaddy@" + version + "\n"; !strings.Contains(readFile(t, customPage), install) {
		t.Errorf("%s does not install the pinned xcaddy: %s", customPage, install)
	}
}

// pinnedXcaddy returns the version of xcaddy in tools/go.mod.
func pinnedXcaddy(t *testing.T) string {
	t.Helper()
	return required(t, "../tools/go.mod", xcaddyModule)
}

// required returns the version of a module that a go.mod requires.
func required(t *testing.T, name, module string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + ` (v\S+)`)
	if found := line.FindStringSubmatch(readFile(t, name)); found != nil {
		return found[1]
	}
	t.Fatalf("%s does not require %s", name, module)
	return ""
}

// TestCustomModules does what the page says, beside a copy of the module, and
// then sends one mail through all four modules.
func TestCustomModules(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a binary")
	}
	t.Parallel()
	w := newWalk(t)
	defer w.stop()
	for _, fence := range customFences(t) {
		switch fence[1] {
		case "sh":
			w.commands(fence[2])
		case "caddy":
			w.stop()
			w.configure(fence[2])
		}
	}
	for _, id := range []string{"mail.handlers.ticket", "mail.matchers.business_hours", "mail.transports.maildir", "mail.stores.journal"} {
		w.run("./caddy list-modules | grep -x " + id)
	}
	w.run("./caddy validate --config Caddyfile")
	for _, untouched := range []string{"archive", "mail"} {
		if _, err := os.Stat(filepath.Join(w.dir, untouched)); err == nil {
			t.Errorf("validate made %s", untouched)
		}
	}
	w.start("./caddy run --config Caddyfile")
	before := time.Now().UTC()
	w.send("Subject: Re: [#4711] Printer\r\nX-Ticket: 666\r\nX-Desk: empty\r\n\r\nIt burns.\r\n")
	mail := w.delivered()
	for _, line := range []string{"Return-Path: <anna@acme.example>", "Delivered-To: bob@example.net", "X-Ticket: 4711", "It burns."} {
		if strings.Count("\r\n"+mail, "\r\n"+line+"\r\n") != 1 {
			t.Errorf("the mail in the Maildir has not one line %q:\n%s", line, mail)
		}
	}
	if strings.Contains(mail, "666") {
		t.Errorf("the sender said which ticket it is:\n%s", mail)
	}
	staffed := strings.Contains(mail, "\r\nX-Desk: staffed\r\n")
	if staffed != isWeekday(before) && staffed != isWeekday(time.Now().UTC()) {
		t.Errorf("the matcher of business hours holds: %v, on a %s:\n%s", staffed, before.Weekday(), mail)
	}
	w.await(`grep -q '"tags":{"ticket":"4711"}' mail/journal && grep -q '"state":"sent"' mail/journal`)
}

func isWeekday(at time.Time) bool {
	return at.Weekday() != time.Saturday && at.Weekday() != time.Sunday
}

// walk is a reader who follows the page.
type walk struct {
	t *testing.T
	// top is where the reader began, root the clone that is there already.
	top, dir, root string
	env            []string
	port           string
	gateway        *exec.Cmd
}

// log is the name of the gateway's log.
func (w *walk) log() string { return filepath.Join(w.top, "log") }

func newWalk(t *testing.T) *walk {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	port, err := unusedPort()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := unusedPort()
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	w := &walk{t: t, top: top, dir: top, root: root, port: port}
	cache := w.goEnv("GOMODCACHE")
	w.env = append(os.Environ(),
		"PATH="+filepath.Join(top, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"CADDY_ADMIN=127.0.0.1:"+admin,
		"XDG_DATA_HOME="+filepath.Join(top, "data"), "XDG_CONFIG_HOME="+filepath.Join(top, "config"),
		// What the tests were built with is in the cache, for the same flags.
		"GOFLAGS=-mod=mod -buildvcs=false -tags=nobadger,nomysql,nopgx",
		"XCADDY_GO_BUILD_FLAGS=-tags=nobadger,nomysql,nopgx -ldflags='-s -w'",
		"CADDY_VERSION="+required(t, "../go.mod", "github.com/caddyserver/caddy/v2"),
		"CGO_ENABLED="+w.goEnv("CGO_ENABLED"),
		// No network: what is in the module cache was checked when it got there.
		"GOPROXY=file://"+filepath.ToSlash(cache)+"/cache/download", "GOSUMDB=off", "GOTOOLCHAIN=local",
	)
	return w
}

// goEnv returns a setting of the go command.
func (w *walk) goEnv(name string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "go", "env", name).Output()
	if err != nil {
		w.t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// commands runs a fence, line by line. What needs the network, or is there
// already, is replaced by something of the same effect.
func (w *walk) commands(text string) {
	w.t.Helper()
	for line := range strings.Lines(text) {
		// By its own path, what the clone has is in the build cache.
		line = strings.NewReplacer("2525", w.port, "=../mailcaddy", "="+w.root).Replace(strings.TrimSpace(line))
		switch {
		case strings.HasPrefix(line, "git clone "):
			// The clone is there: it has this test.
		case strings.HasPrefix(line, "go install "):
			w.installXcaddy()
		case strings.HasPrefix(line, "cd "):
			w.dir = filepath.Join(w.dir, strings.TrimPrefix(line, "cd "))
		case line == "go mod tidy":
			w.fillIn()
		case strings.HasPrefix(line, "xcaddy build "):
			w.build(line)
		case strings.HasPrefix(line, "./caddy run "):
			w.start(line)
		case strings.Contains(line, "| grep "):
			w.await(line)
		default:
			w.run(line)
		}
	}
}

// fillIn writes the files that the page shows, and those that it does not, and
// does what `go mod tidy` would.
func (w *walk) fillIn() {
	w.t.Helper()
	w.run("cp go.mod go.mod.page && cp -R '" + w.root + "/test/" + customModule + "/.' . && mv go.mod.page go.mod")
	sums := readFile(w.t, "../go.sum") + readFile(w.t, customModule+"/go.sum")
	if err := os.WriteFile(filepath.Join(w.dir, "go.sum"), []byte(sums), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// installXcaddy builds the xcaddy that is pinned in tools/go.mod.
func (w *walk) installXcaddy() {
	w.t.Helper()
	_, err := w.try(w.root, nil, "GOFLAGS=-buildvcs=false go build -modfile=tools/go.mod -o '"+
		filepath.Join(w.top, "bin", "xcaddy")+"' "+xcaddyModule+"/cmd/xcaddy")
	if err != nil {
		w.t.Logf("the pinned xcaddy cannot be built: %v", err)
	}
}

// build runs xcaddy: without the network, else with it. Where neither goes it
// does by hand what xcaddy does.
func (w *walk) build(line string) {
	w.t.Helper()
	_, err := w.try(w.dir, nil, line)
	if err == nil {
		w.t.Log("built by xcaddy, from the module cache")
		return
	}
	w.t.Logf("xcaddy cannot build from the module cache: %s", lastLine(err))
	online := []string{"GOSUMDB=" + w.goEnv("GOSUMDB"), "GOPROXY=file://" + filepath.ToSlash(w.goEnv("GOMODCACHE")) +
		"/cache/download|" + w.goEnv("GOPROXY")}
	if _, err = w.try(w.dir, online, line); err == nil {
		w.t.Log("built by xcaddy, with the network")
		return
	}
	w.t.Logf("xcaddy cannot build with the network: %s", lastLine(err))
	w.buildByHand()
	w.t.Log("built by hand, from a main module with replace directives as xcaddy makes it")
}

// buildByHand builds a main module that imports what xcaddy would.
func (w *walk) buildByHand() {
	w.t.Helper()
	dir := filepath.Join(w.top, "main")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	sums := readFile(w.t, "../go.sum") + readFile(w.t, customModule+"/go.sum")
	for name, text := range map[string]string{
		"go.mod": readFile(w.t, "../go.mod"), "go.sum": sums,
		"main.go": `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "example.com/acme/mailmodules"
	_ "github.com/mailcaddy/mailcaddy"
)

func main() { caddycmd.Main() }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.runIn(dir, "go mod edit -module caddy"+
		" -require github.com/mailcaddy/mailcaddy@v0.0.0 -replace github.com/mailcaddy/mailcaddy='"+w.root+"'"+
		" -require example.com/acme/mailmodules@v0.0.0 -replace example.com/acme/mailmodules='"+w.dir+"'")
	w.runIn(dir, "go build -o '"+filepath.Join(w.dir, "caddy")+"' .")
}

// configure writes the Caddyfile, and adapts it without a warning.
func (w *walk) configure(text string) {
	w.t.Helper()
	text = strings.ReplaceAll(text, "2525", w.port)
	if err := os.WriteFile(filepath.Join(w.dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out := w.run("./caddy adapt --config Caddyfile 2>&1 >/dev/null"); strings.Contains(out, "warn") {
		w.t.Errorf("adapting warns: %s\n%s", out, text)
	}
}

// start starts the gateway, and waits until its door is open.
func (w *walk) start(line string) {
	w.t.Helper()
	w.gateway = exec.CommandContext(w.t.Context(), "bash", "-c", "exec "+line)
	w.gateway.Dir, w.gateway.Env = w.dir, w.env
	log, err := os.Create(w.log())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	w.gateway.Stdout, w.gateway.Stderr = log, log
	w.gateway.Cancel = func() error { return w.gateway.Process.Signal(syscall.SIGTERM) }
	if err := w.gateway.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.await("exec 3<>/dev/tcp/127.0.0.1/" + w.port)
}

// stop ends the gateway that runs, if one does.
func (w *walk) stop() {
	w.t.Helper()
	if w.gateway == nil {
		return
	}
	if err := w.gateway.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Error(err)
	}
	err := w.gateway.Wait()
	if w.gateway = nil; err != nil || w.t.Failed() {
		w.t.Logf("the gateway ended: %v\n%s", err, readFile(w.t, w.log()))
	}
	if err != nil {
		w.t.Error("the gateway did not end well")
	}
}

// send submits a mail over SMTP.
func (w *walk) send(content string) {
	w.t.Helper()
	client, err := smtp.Dial("127.0.0.1:" + w.port)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for _, step := range []func() error{
		func() error { return client.Mail("anna@acme.example") },
		func() error { return client.Rcpt("bob@example.net") },
		func() error {
			data, err := client.Data()
			if err != nil {
				return err
			}
			if _, err := data.Write([]byte(content)); err != nil {
				return err
			}
			return data.Close()
		},
		client.Quit,
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// delivered waits for the mail in the Maildir.
func (w *walk) delivered() string {
	w.t.Helper()
	return w.await("cat archive/new/*.mailcaddy")
}

// run runs a command, which must succeed, and returns its standard output.
func (w *walk) run(line string) string {
	w.t.Helper()
	return w.runIn(w.dir, line)
}

func (w *walk) runIn(dir, line string) string {
	w.t.Helper()
	out, err := w.try(dir, nil, line)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// await runs a command until it succeeds.
func (w *walk) await(line string) string {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := w.try(w.dir, nil, line)
		if err == nil {
			return out
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("after %v: %v\n%s", patience, err, readFile(w.t, w.log()))
		}
	}
}

// commandTimeout bounds one command of the page: far above a build of
// everything on a slow machine.
const commandTimeout = 8 * time.Minute

// try runs a command.
func (w *walk) try(dir string, env []string, line string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line)
	cmd.Dir, cmd.Env = dir, append(slices.Clip(w.env), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", line, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// lastLine returns the end of what a command that failed said.
func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}
