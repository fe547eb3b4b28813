// SPDX-License-Identifier: Apache-2.0

//go:build unix

package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/mailcaddy/mailcaddy/test/peer"
)

const (
	// crowd is how many connections are open at once.
	crowd = 5000
	// crowdFiles is how many files a process may need for them, and for
	// whatever else it has open.
	crowdFiles = crowd + 1000
	// maxPerConnection is what a connection that waits may take of memory.
	maxPerConnection = 32 << 10
)

// TestHostileCrowd opens thousands of connections at once, each of which says
// hello and then waits: all are greeted, others are served, and when they are
// gone nothing is left of them.
func TestHostileCrowd(t *testing.T) {
	needFiles(t, crowdFiles)
	f := newFortress(t)
	open := make([]net.Conn, crowd)
	const dialers = 20
	f.besiege(t, crowd*maxPerConnection, func() {
		together(dialers, func(d int) {
			for i := d; i < crowd; i += dialers {
				c, err := dial(f.door)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				open[i] = c.nc
			}
		})
		if err := f.submit(mailOf("in-the-crowd")); err != nil {
			t.Errorf("beside %d connections: %v", crowd, err)
		}
		for _, nc := range open {
			if nc != nil {
				_ = nc.Close()
			}
		}
	})
	f.checkLedger(t)
}

// needFiles raises the limit of open files of this process to n at least; those
// it starts have it too.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	if limit.Max < n {
		const text = "a process may open %d files here, %d are needed: raise the hard limit, as with `ulimit -Hn`"
		if peer.Required() {
			t.Fatalf(text, limit.Max, n)
		}
		t.Skipf(text, limit.Max, n)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

const loginConfig = `{
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
			receive
			submit 127.0.0.1
			user app %s
		}
	}
}
`

// TestHostileGuessing guesses passwords: each failure takes longer, the
// connection ends with 421, and many connections at once gain nothing.
func TestHostileGuessing(t *testing.T) {
	t.Parallel()
	const guessers = 50
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	f := newFortressOf(t, loginConfig, string(hash))
	f.besiege(t, maxGrowth, func() {
		if a, err := mustDial(t, f.door).command(plainLogin("right")); err != nil || a.code != 235 {
			t.Errorf("the right password: %v, %v", a, err)
		}
		c := mustDial(t, f.door)
		for i, want := range []int{535, 535, 535, 421} {
			began := time.Now()
			a, err := c.command(plainLogin(fmt.Sprint("wrong", i)))
			took := time.Since(began)
			if err != nil || a.code != want {
				t.Errorf("guess %d: %v, %v, want %d", i, a, err, want)
			}
			if least := time.Second << i; took < least {
				t.Errorf("guess %d took %v, want at least %v: twice as long as the one before", i, took, least)
			}
		}
		if a, err := c.read(); err == nil {
			t.Errorf("behind 421 there came %v", a)
		}
		// On many connections at once, each of which leaves after a second.
		began := time.Now()
		together(guessers, func(i int) {
			c := mustDialIn(t, f.door)
			if a, err := c.command(plainLogin(fmt.Sprint("guess", i))); err == nil && a.code == 235 {
				t.Errorf("a wrong password got %v", a)
			} else if took := time.Since(began); err == nil && a.code == 535 && took < time.Second/2 {
				t.Errorf("a guess on a new connection was answered after %v", took)
			}
		})
	})
	f.checkLedger(t)
}

// plainLogin returns the command that logs app in.
func plainLogin(password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00app\x00"+password))
}
