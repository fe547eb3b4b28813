// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long a test waits for what must come. It is far above
	// what a loaded machine needs, since nothing waits for it in vain but a
	// failing test.
	patience = 90 * time.Second
	// pollPause lies between two looks at what must come.
	pollPause = 20 * time.Millisecond
	// maxShownLog is how much of a gateway's log a failing test shows.
	maxShownLog = 16 << 10
)

// gateway is a gateway in a process of its own.
type gateway struct {
	t     *testing.T
	dir   string // its working directory and home
	admin string // its admin endpoint

	// mayPanic says that the test provokes panics.
	mayPanic bool

	cmd   *exec.Cmd // nil while it does not run
	stdin io.Closer
	ended chan struct{}
	log   *os.File
}

// newGateway returns a gateway with that Caddyfile that does not run yet. Its
// log is shown if the test fails.
func newGateway(t *testing.T, caddyfile string) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), admin: freeAddress(t)}
	g.configure(caddyfile)
	log, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	g.log = log
	t.Cleanup(func() {
		g.kill()
		_ = log.Close()
		g.checkLog()
	})
	return g
}

// startGateway returns a gateway with that Caddyfile that takes mail.
func startGateway(t *testing.T, caddyfile string) *gateway {
	t.Helper()
	g := newGateway(t, caddyfile)
	g.start()
	g.awaitReady()
	return g
}

// configure writes the Caddyfile that the next start reads.
func (g *gateway) configure(caddyfile string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// command returns a command of the gateway's program, in its surroundings.
func (g *gateway) command(args ...string) *exec.Cmd {
	g.t.Helper()
	self, err := os.Executable()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "mailcaddy"
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), asGateway+"=1", "CADDY_ADMIN="+g.admin, "HOME="+g.dir,
		"XDG_DATA_HOME="+filepath.Join(g.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(g.dir, "config"))
	return cmd
}

// start starts the process. It does not wait until mail is taken.
func (g *gateway) start() {
	g.t.Helper()
	cmd := g.command("run", "--config", "Caddyfile")
	cmd.Stdout, cmd.Stderr = g.log, g.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd, g.stdin, g.ended = cmd, stdin, make(chan struct{})
	go func(ended chan<- struct{}) {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}(g.ended)
}

// kill ends the process as a power cut does.
func (g *gateway) kill() { g.end((*os.Process).Kill) }

// stop asks the process to end, and waits until it has.
func (g *gateway) stop() {
	g.end(func(p *os.Process) error { return p.Signal(os.Interrupt) })
}

func (g *gateway) end(signal func(*os.Process) error) {
	if g.cmd == nil {
		return
	}
	if err := signal(g.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		g.t.Error(err)
	}
	select {
	case <-g.ended:
	case <-time.After(patience):
		g.t.Errorf("after %v the gateway has not ended", patience)
		_ = g.cmd.Process.Kill()
		<-g.ended
	}
	_ = g.stdin.Close()
	g.cmd = nil
}

// awaitReady waits until the gateway takes mail.
func (g *gateway) awaitReady() {
	g.t.Helper()
	await(g.t, "the gateway is ready", func() bool {
		select {
		case <-g.ended:
			g.t.Fatal("the gateway has ended")
		default:
		}
		return g.ready()
	})
}

func (g *gateway) ready() bool {
	status, _, err := g.ask(http.MethodGet, "/mail/ready", nil)
	return err == nil && status == http.StatusOK
}

// ask sends a request to the admin endpoint and returns the answer.
func (g *gateway) ask(method, path string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.admin+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, errors.Join(err, res.Body.Close())
}

// get asks the admin endpoint until it answers. What it says is read into out.
// While a load replaces the endpoint the old one may lose a question.
func (g *gateway) get(path string, out any) {
	g.t.Helper()
	var status int
	var body []byte
	await(g.t, "the admin endpoint answers", func() (answered bool) {
		var err error
		status, body, err = g.ask(http.MethodGet, path, nil)
		return err == nil
	})
	if status != http.StatusOK {
		g.t.Fatalf("%s: %d %.300s", path, status, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		g.t.Fatalf("%s: %v", path, err)
	}
}

// run runs a command of the program to its end.
func (g *gateway) run(args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	return run(g.t, g.command(args...))
}

// run runs cmd to its end.
func run(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if cmd.Stdin == nil {
		stdin, err := cmd.StdinPipe() // open until it ends
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stdin.Close() }()
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %s: %v", cmd.Args[0], err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// delivery is one object of `mail queue list --json`.
type delivery struct {
	ID       string    `json:"id"`
	Message  string    `json:"message"`
	State    string    `json:"state"`
	From     string    `json:"from"`
	To       []string  `json:"to"`
	Subject  string    `json:"subject"`
	Server   string    `json:"server"`
	Purpose  string    `json:"purpose"`
	Due      time.Time `json:"due"`
	Attempts int       `json:"attempts"`
	Reply    string    `json:"reply"`
	Reason   string    `json:"reason"`
	Bytes    int64     `json:"bytes"`
}

// queue returns what `mail queue list --json` shows. As [gateway.get], it asks
// until it is answered.
func (g *gateway) queue(args ...string) []delivery {
	g.t.Helper()
	var stdout, stderr string
	var code int
	await(g.t, "mail queue list is answered", func() bool {
		stdout, stderr, code = g.run(append([]string{"mail", "queue", "list", "--json"}, args...)...)
		return code == 0 || !strings.Contains(stderr, "no gateway answers")
	})
	if code != 0 {
		g.t.Fatalf("mail queue list: exit %d: %s", code, stderr)
	}
	var list []delivery
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		g.t.Fatalf("mail queue list printed %q: %v", stdout, err)
	}
	return list
}

// health is the answer of /mail/health, as far as tests look at it.
type health struct {
	Generations int            `json:"generations"`
	Queue       map[string]int `json:"queue"`
	Down        []string       `json:"down"`
}

// health returns how the gateway is.
func (g *gateway) health() (h health) {
	g.t.Helper()
	g.get("/mail/health", &h)
	return h
}

// open returns how many deliveries are not over.
func (g *gateway) open() int {
	q := g.health().Queue
	return q["queued"] + q["deferred"] + q["sending"] + q["held"]
}

// checkLog fails the test if the gateway has panicked or raced, and shows the
// end of the log of a test that failed.
func (g *gateway) checkLog() {
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Error(err)
	}
	for alarm, allowed := range map[string]bool{"DATA RACE": false, "panic": g.mayPanic} {
		if !allowed && bytes.Contains(log, []byte(alarm)) {
			g.t.Errorf("the log of the gateway says %q", alarm)
		}
	}
	if !g.t.Failed() {
		return
	}
	var kept []byte
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, []byte(`"logger":"admin.api"`)) { // our own questions
			kept = append(kept, line...)
		}
	}
	if n := len(kept) - maxShownLog; n > 0 {
		kept = kept[n:]
	}
	g.t.Logf("the log of the gateway ends:\n%s", kept)
}

// await asks done until it says yes, and fails the test when that takes too
// long.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(pollPause) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it still does not hold that %s", patience, what)
		}
	}
}

// Ports are taken from below those that systems give to outgoing connections,
// so that a port stays free while the gateway that owns it is down.
const (
	firstPort = 20_000
	lastPort  = 29_999
)

// given holds the ports that tests were given.
var given sync.Map

// freeAddress returns an address of the loopback that nothing listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range lastPort - firstPort {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		ln, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no port is free")
	return ""
}
