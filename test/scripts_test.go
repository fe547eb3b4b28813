// SPDX-License-Identifier: Apache-2.0

// Package test runs the whole program: scripts/*.txtar are dialogues with the
// real binary and the golden files of what it prints, and every example of the
// documentation is adapted.
//
// A script runs in a directory of its own, which is also its home, and has an
// admin endpoint of its own ($CADDY_ADMIN). On top of testscript's commands
// there are:
//
//   - freeport NAME... sets each variable to a free port of the loopback.
//   - waitport ADDR... waits until something listens at each address; an
//     address that begins with unix/ is a socket.
//   - [!] waitfor PATTERN FILE waits until a line of the file matches, or with
//     "!" until none does. A script that goes on by the admin API after a
//     reload waits for "stopped previous server" in the log: until then that
//     one may take a question, and lose it.
//   - [!] eventually PATTERN PROGRAM [ARG...] runs the program until a line of
//     its output matches, or with "!" until none does; its output can be read
//     by stdout afterwards.
//
// The condition [peer:PROGRAM] holds when the program is installed. Without it
// a script skips; where MAILCADDY_REQUIRE=all it fails:
//
//	[!peer:swaks] skip 'swaks is not installed'
//
// Run `go test ./test -update` to rewrite the golden files in the scripts.
package test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/rogpeppe/go-internal/testscript"

	_ "github.com/mailcaddy/mailcaddy"
	"github.com/mailcaddy/mailcaddy/test/peer"
)

// patience is how long a script waits for what must come. It is far above
// what a loaded machine needs, since nothing waits for it in vain but a
// failing test.
const patience = time.Minute

var update = flag.Bool("update", false, "rewrite the golden files in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mailcaddy": caddycmd.Main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "scripts",
		Setup:               setUp,
		Condition:           condition,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":   freePort,
			"waitport":   waitPort,
			"waitfor":    waitFor,
			"eventually": eventually,
		},
	})
}

// setUp gives a script a home and an admin endpoint of its own.
func setUp(env *testscript.Env) error {
	port, err := unusedPort()
	if err != nil {
		return err
	}
	env.Setenv("CADDY_ADMIN", "127.0.0.1:"+port)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "home", "data"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "home", "config"))
	env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+"/usr/sbin")
	return os.MkdirAll(env.Getenv("HOME"), 0o700)
}

// condition answers [peer:PROGRAM].
func condition(cond string) (bool, error) {
	program, ok := strings.CutPrefix(cond, "peer:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	_, err := peer.Path(program)
	if err != nil && peer.Required() {
		return false, err
	}
	return err == nil, nil
}

// Ports are taken from below those that systems give to outgoing connections,
// and apart from those of test/e2e, whose tests run beside: a port stays free
// until the gateway that it is for listens.
const (
	firstPort = 10_000
	lastPort  = 19_999
)

// given holds the ports that scripts have been given, so that two that run at
// once never get the same.
var given sync.Map

// unusedPort returns a port of the loopback that nothing listens at.
func unusedPort() (string, error) {
	for range lastPort - firstPort {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return strconv.Itoa(port), listener.Close()
	}
	return "", errors.New("no port is free")
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: freeport NAME...")
	}
	for _, name := range args {
		port, err := unusedPort()
		ts.Check(err)
		ts.Setenv(name, port)
	}
}

func waitPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: waitport ADDR...")
	}
	for _, addr := range args {
		network, host := "tcp", addr
		if socket, ok := strings.CutPrefix(addr, "unix/"); ok {
			network, host = "unix", ts.MkAbs(socket)
		}
		wait(ts, "something listens at "+addr, func() bool {
			conn, err := net.DialTimeout(network, host, patience)
			if err != nil {
				return false
			}
			return conn.Close() == nil
		})
	}
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] waitfor PATTERN FILE")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, args[1]+" is right", func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Check(err)
		}
		return err == nil && pattern.Match(text) != neg
	})
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] eventually PATTERN PROGRAM [ARG...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, args[1]+" prints what it must", func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) != neg
	})
}

// wait asks done until it says yes, and ends the script when that takes too
// long.
func wait(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("after %v it still does not hold that %s", patience, what)
		}
	}
}
