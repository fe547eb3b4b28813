// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/test/peer"
)

const tlsSiegeConfig = `{
	skip_install_trust
	local_certs
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
			tls starttls
		}
		smtp %s {
			tls implicit
		}
	}
}
`

// secured is a fortress with TLS: STARTTLS at its door, and a door with
// implicit TLS.
type secured struct {
	*fortress
	implicit string
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{implicit: freeAddress(t)}
	s.fortress = newFortressOf(t, tlsSiegeConfig, s.implicit)
	awaitTLS(t, s.door)
	return s
}

// begun connects as far as to where TLS begins, at the one door or the other.
func (s *secured) begun(door string) (*client, error) {
	c, err := connect(door)
	if err != nil || door == s.implicit {
		return c, err
	}
	if err := c.greet(); err != nil {
		return nil, err
	}
	if a, err := c.command("STARTTLS"); err != nil || a.code != 220 {
		return nil, fmt.Errorf("answer to STARTTLS %v, %w", a, err)
	}
	return c, nil
}

// mustEncrypt sends a mail by TLS at both doors.
func (s *secured) mustEncrypt(t *testing.T, name string) {
	t.Helper()
	trusting := s.trusting("mx.mycompany.com")
	starts := mustDial(t, s.door)
	if err := starts.startTLS(trusting); err != nil {
		t.Fatal(err)
	}
	implicit, err := dialTLS(s.implicit, trusting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(implicit.close)
	for way, c := range map[string]*client{"starttls": starts, "implicit": implicit} {
		m := mailOf(name + "-" + way)
		c.mustSend(t, m)
		s.acknowledged(m.to)
	}
}

// cutOff reads until the gateway closes the connection. It may say an alert of
// TLS before, and nothing else.
func (c *client) cutOff() error {
	const alert = 0x15 // RFC 8446 section 5.1
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	said, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("after %v the connection is open", patience)
	}
	if len(said) > 0 && said[0] != alert {
		return fmt.Errorf("the gateway says %.200q", said)
	}
	return nil
}

// halfHello is the beginning of a ClientHello that announces 512 bytes.
const halfHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"

// TestHostileHandshake has peers that send something else than a ClientHello
// where TLS begins: at the door with implicit TLS and after STARTTLS. They are
// cut off without a word of SMTP, and no command of theirs is heard.
func TestHostileHandshake(t *testing.T) {
	t.Parallel()
	f := newSecured(t)
	random := make([]byte, 10<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	garbage := map[string]string{
		"commands":        "EHLO client.example\r\n" + smuggled + "QUIT\r\n",
		"HTTP":            "GET / HTTP/1.1\r\nHost: mx.mycompany.com\r\n\r\n",
		"line ends":       strings.Repeat("\r\n", 1000),
		"zeros":           strings.Repeat("\x00", 1000),
		"random bytes":    string(random),
		"an alert":        "\x15\x03\x01\x00\x02\x02\x28",
		"content":         "\x17\x03\x03\x00\x10" + strings.Repeat("x", 16),
		"a ServerHello":   "\x16\x03\x03\x00\x04\x02\x00\x00\x00",
		"an empty hello":  "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
		"empty records":   strings.Repeat("\x16\x03\x01\x00\x00", 1000),
		"a large record":  "\x16\x03\x01\xff\xff" + strings.Repeat("x", 0xffff),
		"SSL 2":           "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("x", 37),
		"SSL 3":           "\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + strings.Repeat("x", 32) + "\x00\x00\x02\x00\x05\x01\x00",
		"half, and hello": halfHello + "EHLO client.example\r\n" + smuggled + strings.Repeat("x", 512),
	}
	f.besiege(t, maxGrowth, func() {
		for _, door := range []string{f.door, f.implicit} {
			for name, text := range garbage {
				c, err := f.begun(door)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.close)
				_ = c.write([]byte(text)) // it fails when the gateway has enough
				if err := c.cutOff(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			f.endlessHello(t, door)
			f.mustEncrypt(t, "meanwhile"+door[len(door)-2:])
		}
	})
	f.checkLedger(t)
}

// endlessHello begins a ClientHello that ends with the connection, and some of
// 16 MiB, in record after record.
func (s *secured) endlessHello(t *testing.T, door string) {
	t.Helper()
	together(floods, func(int) {
		c, err := s.begun(door)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.close()
		_ = c.write([]byte(halfHello))
		if err := c.nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := c.cutOff(); err != nil {
			t.Errorf("half a hello and the end: %v", err)
		}
		c, err = s.begun(door)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.close()
		_ = c.write([]byte("\x16\x03\x01\x00\x04\x01\xff\xff\xff"))
		record := []byte("\x16\x03\x01\x40\x00" + strings.Repeat("x", 1<<14))
		if n := flood(c.nc, record, endless); n >= endless {
			t.Errorf("the gateway reads %d bytes of a ClientHello, and goes on", n)
		}
	})
}

// TestHostileSilentHandshake has peers that begin no handshake, or stop in the
// middle, or go on with a byte a second: others are served, and these are gone
// when the time for a handshake is over.
func TestHostileSilentHandshake(t *testing.T) {
	t.Parallel()
	const each = 30
	f := newSecured(t)
	f.besiege(t, maxGrowth, func() {
		doors, beginnings := []string{f.door, f.implicit}, []string{"", "\x16", halfHello}
		together(each*len(doors)*len(beginnings), func(i int) {
			c, err := f.begun(doors[i%len(doors)])
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			beginning := beginnings[i/len(doors)%len(beginnings)]
			if err := c.write([]byte(beginning)); err != nil {
				t.Error(err)
			}
			ended := make(chan struct{})
			if beginning == halfHello {
				go c.trickle(ended)
			}
			if err := c.cutOff(); err != nil {
				t.Errorf("after %q: %v", beginning, err)
			}
			close(ended)
		})
		f.mustEncrypt(t, "afterwards")
	})
	f.checkLedger(t)
}

// trickle sends a byte a second until ended is closed.
func (c *client) trickle(ended <-chan struct{}) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ended:
			return
		case <-second.C:
			_, _ = c.nc.Write([]byte("x"))
		}
	}
}

// TestHostileRenegotiation asks for another handshake within TLS 1.2, which
// costs a server far more than a client: that ends the connection.
func TestHostileRenegotiation(t *testing.T) {
	t.Parallel()
	openssl := peer.Require(t, "openssl")
	f := newSecured(t)
	f.besiege(t, maxGrowth, func() {
		for _, door := range []string{f.door, f.implicit} {
			args := []string{"s_client", "-tls1_2", "-connect", door}
			// The greeting has to be through: openssl wants nothing else than a
			// handshake once it has asked. STARTTLS is behind it.
			ready := "220 mx.mycompany.com"
			if door == f.door {
				args, ready = append(args, "-starttls", "smtp"), "Verify return code"
			}
			together(floods, func(int) {
				said, err := renegotiate(t, exec.CommandContext(t.Context(), openssl, args...), ready)
				if err == nil || !strings.Contains(said, "RENEGOTIATING") || !strings.Contains(said, "unexpected message") {
					t.Errorf("%q: %v, want the connection closed after an alert\n%s", args, err, said)
				}
			})
		}
		f.mustEncrypt(t, "afterwards")
	})
	f.checkLedger(t)
}

// renegotiate runs `openssl s_client` and has it renegotiate when it has
// printed ready. It returns all that was printed, and how the program ended.
func renegotiate(t *testing.T, cmd *exec.Cmd, ready string) (said string, err error) {
	t.Helper()
	stdin, err := cmd.StdinPipe() // open until it ends
	if err != nil {
		return "", err
	}
	out := &transcript{awaited: ready, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	hurry := time.AfterFunc(patience, func() {
		t.Errorf("after %v the connection is open", patience)
		_ = cmd.Process.Kill()
	})
	defer hurry.Stop()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-out.seen:
		_, _ = io.WriteString(stdin, "R\n")
		err = <-ended
	case err = <-ended:
	}
	return out.text.String(), err
}

// transcript is what a program has printed so far.
type transcript struct {
	awaited string
	seen    chan struct{} // closed when it was printed

	text strings.Builder
	told bool
}

// Write implements [io.Writer]. The program's output is copied by one goroutine.
func (s *transcript) Write(p []byte) (int, error) {
	s.text.Write(p)
	if !s.told && strings.Contains(s.text.String(), s.awaited) {
		s.told = true
		close(s.seen)
	}
	return len(p), nil
}
