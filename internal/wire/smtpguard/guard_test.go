// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// keeper is a backend that keeps what it is given. Its sessions are used by one
// goroutine each; the keeper checks that they are.
type keeper struct {
	maxSize int64
	mailErr error
	rcptErr func(mailflow.Address) error
	dataErr error
	replies []*mailflow.Reply // of Data; nil accepts
	before  func()            // in Data, before the content is read
	after   func()            // and after it
	users   map[string]string

	mu        sync.Mutex
	mails     []kept
	open      int // transactions
	busy      int // methods under way
	misuse    []string
	incidents []Incident
}

// kept is a mail that a keeper took.
type kept struct {
	env     mailflow.Envelope
	size    int64
	content string
	word    string
}

func (k *keeper) Open(c *Client) Session { return &keeperSession{keeper: k, client: c} }

func (k *keeper) report(i Incident) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.incidents = append(k.incidents, i)
}

func (k *keeper) kinds() []IncidentKind {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ks []IncidentKind
	for _, i := range k.incidents {
		ks = append(ks, i.Kind)
	}
	return ks
}

// check reports what sessions did wrong, and transactions that have no end.
func (k *keeper) check(tb testing.TB) {
	tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != 0 {
		tb.Errorf("%d transactions have not ended", k.open)
	}
	for _, m := range k.misuse {
		tb.Error(m)
	}
	for _, i := range k.incidents {
		if i.Kind == Panicked {
			tb.Error("panic:", i.Err)
		}
	}
}

// enter notes that a method is under way.
func (k *keeper) enter(name string) func() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy++; k.busy > 1 {
		k.misuse = append(k.misuse, name+" ran beside another method")
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.busy--
	}
}

// keeperSession is a session of a keeper.
type keeperSession struct {
	keeper *keeper
	client *Client
	mail   *kept
	user   string
}

func (s *keeperSession) Mechanisms() []string {
	if s.keeper.users == nil {
		return nil
	}
	return []string{"PLAIN", "LOGIN"}
}

func (s *keeperSession) Auth(_ context.Context, user, password string) error {
	if p, ok := s.keeper.users[user]; !ok || p != password {
		return errBadLogin
	}
	s.user = user
	return nil
}

func (s *keeperSession) MaxSize() int64 { return s.keeper.maxSize }

func (s *keeperSession) Mail(_ context.Context, env *mailflow.Envelope, size int64) error {
	defer s.keeper.enter("Mail")()
	if s.keeper.mailErr != nil {
		return s.keeper.mailErr
	}
	s.mail = &kept{env: *env, size: size, word: s.client.Protocol(env, s.user)}
	s.keeper.mu.Lock()
	s.keeper.open++
	s.keeper.mu.Unlock()
	return nil
}

func (s *keeperSession) Rcpt(_ context.Context, rcpt mailflow.Recipient) error {
	defer s.keeper.enter("Rcpt")()
	if s.keeper.rcptErr != nil {
		if err := s.keeper.rcptErr(rcpt.Address); err != nil {
			return err
		}
	}
	s.mail.env.Recipients = append(s.mail.env.Recipients, rcpt)
	return nil
}

func (s *keeperSession) Data(_ context.Context, content io.Reader) ([]*mailflow.Reply, error) {
	defer s.keeper.enter("Data")()
	if s.keeper.before != nil {
		s.keeper.before()
	}
	if s.keeper.dataErr != nil {
		return nil, s.keeper.dataErr
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("receiving: %w", err)
	}
	if s.keeper.after != nil {
		s.keeper.after()
	}
	s.mail.content = string(b)
	s.keeper.mu.Lock()
	s.keeper.mails = append(s.keeper.mails, *s.mail)
	s.keeper.mu.Unlock()
	if s.keeper.replies != nil {
		return s.keeper.replies, nil
	}
	replies := make([]*mailflow.Reply, len(s.mail.env.Recipients))
	for i := range replies {
		replies[i] = mailflow.ReplyAccepted
	}
	return replies, nil
}

func (s *keeperSession) Reset() {
	defer s.keeper.enter("Reset")()
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	s.keeper.open--
	s.mail = nil
}

// pipe is a listener of connections in memory.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipe) Addr() net.Addr { return fixedAddr("192.0.2.1:25") }

// fixedAddr is an address.
type fixedAddr string

func (fixedAddr) Network() string  { return "tcp" }
func (a fixedAddr) String() string { return string(a) }

// addressed is a connection whose peer has that address.
type addressed struct {
	net.Conn

	peer fixedAddr
}

func (a *addressed) RemoteAddr() net.Addr { return a.peer }

// bench runs a guard in a bubble, where time stands still until all wait.
type bench struct {
	t       *testing.T
	keeper  *keeper
	options Options
	server  *Server
	ln      *pipe
	stop    context.CancelFunc
}

// guarded runs test against a guard round k, in a bubble.
func guarded(t *testing.T, k *keeper, o Options, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Hostname, o.Now, o.Report = "mx.example", time.Now, k.report
		b := &bench{t: t, keeper: k, options: o, server: New(o, k), ln: newPipe()}
		ctx, cancel := context.WithCancel(t.Context())
		b.stop = cancel
		served := make(chan struct{})
		go func() {
			defer close(served)
			b.server.Serve(ctx, b.ln)
		}()
		defer func() { // also after t.Fatal
			_ = b.ln.Close()
			cancel()
			<-served
			time.Sleep(10 * time.Minute) // all deadlines pass
			synctest.Wait()
		}()
		test(b)
		_ = b.ln.Close()
		cancel()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := b.server.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		k.check(t)
	})
}

// client is a peer of a bench. What the guard says is collected.
type client struct {
	b    *bench
	conn net.Conn

	mu   sync.Mutex
	said strings.Builder
	over bool
}

// dial connects a peer from that address.
func (b *bench) dial(from fixedAddr) *client {
	b.t.Helper()
	near, far := net.Pipe()
	b.ln.conns <- &addressed{Conn: far, peer: from}
	c := &client{b: b, conn: near}
	go c.collect(near)
	b.t.Cleanup(func() { _ = near.Close() })
	return c
}

func (c *client) collect(from io.Reader) {
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		c.mu.Lock()
		c.said.WriteString(strings.ReplaceAll(line, "\r\n", "\n"))
		c.over = c.over || err != nil
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes text, as far as the guard takes it.
func (c *client) send(text string) { _, _ = io.WriteString(c.conn, text) }

// heard returns what the guard said since the last call, once it has no more to
// say.
func (c *client) heard() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.said.String()
	c.said.Reset()
	return said
}

// ended reports whether the guard closed the connection, at most a linger later.
func (c *client) ended() bool {
	synctest.Wait()
	time.Sleep(2 * lingerTime)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// ask sends text and returns the answer.
func (c *client) ask(text string) string {
	c.send(text)
	return c.heard()
}

// want sends text and checks the codes of the answer.
func (c *client) want(text, codes string) {
	c.b.t.Helper()
	answer := c.ask(text)
	if got := codesOf(answer); got != codes {
		c.b.t.Fatalf("after %.80q: got %q, want codes %q", text, answer, codes)
	}
}

// codesOf returns the codes of the last lines of replies.
func codesOf(answer string) string {
	var codes []string
	for line := range strings.Lines(answer) {
		if len(line) > 3 && line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	return strings.Join(codes, " ")
}

// begun connects a peer and opens a transaction.
func (b *bench) begun() *client {
	b.t.Helper()
	c := b.dial("192.0.2.9:1000")
	c.want("EHLO c.example\r\n", "220 250")
	c.want("MAIL FROM:<s@x.example>\r\n", "250")
	c.want("RCPT TO:<r@a.example>\r\n", "250")
	return c
}

// TestTimeouts proves cure 1: what is slow but steady goes on, and what is
// stuck or drips ends with 421.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	t.Run("steady", func(t *testing.T) {
		t.Parallel()
		guarded(t, new(keeper), Options{}, func(b *bench) {
			c := b.begun()
			c.want("DATA\r\n", "354")
			for range 14 {
				time.Sleep(2 * time.Minute)
				c.send("a line\r\n")
			}
			c.want(".\r\n", "250")
		})
	})
	t.Run("chunks", func(t *testing.T) {
		t.Parallel()
		guarded(t, new(keeper), Options{}, func(b *bench) {
			c := b.begun()
			for range 8 {
				c.want("BDAT 1\r\nx", "250")
				time.Sleep(4 * time.Minute)
			}
			c.want("BDAT 1\r\nx", "421")
			if !c.ended() {
				t.Error("the connection is open")
			}
		})
	})
	tests := []struct {
		name  string
		drive func(c *client)
		after time.Duration // from the first byte
	}{
		{"idle", func(*client) {}, 5 * time.Minute},
		{"half a command", func(c *client) { c.send("NOO") }, 5 * time.Minute},
		{"drip of a command", func(c *client) {
			for range 2000 {
				if time.Sleep(time.Second); c.b.server.Sessions() > 0 {
					c.send("x")
				}
			}
		}, 2000 * time.Second},
		{"pause in content", func(c *client) { c.want("DATA\r\n", "354"); c.send("half") }, 3 * time.Minute},
		{"drip of content", func(c *client) {
			c.want("DATA\r\n", "354")
			for range 1000 {
				if time.Sleep(2 * time.Second); c.b.server.Sessions() > 0 {
					c.send("x")
				}
			}
		}, 2000 * time.Second},
		{"pause between chunks", func(c *client) { c.want("BDAT 2\r\nab", "250") }, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := new(keeper)
			guarded(t, k, Options{}, func(b *bench) {
				c := b.begun()
				from := time.Now()
				tt.drive(c)
				time.Sleep(tt.after - time.Since(from))
				if got := codesOf(c.heard()); got != "421" {
					t.Errorf("got %q, want 421", got)
				}
				if !c.ended() {
					t.Error("the connection is open")
				}
			})
			if len(k.mails) > 0 {
				t.Error("a mail was taken")
			}
		})
	}
}

// TestNeverReads holds the guard to letting go of a peer that takes no replies.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	guarded(t, new(keeper), Options{}, func(b *bench) {
		near, far := net.Pipe()
		b.ln.conns <- &addressed{Conn: far, peer: "192.0.2.9:1"}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := b.server.Sessions(); n != 0 {
			t.Errorf("%d sessions are open", n)
		}
		_ = near.Close()
	})
}

// TestDrain proves cures 2 and 3: the context ends every session, with a 421
// that is the last word.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, drive := range map[string]func(c *client){
		"idle":           func(*client) {},
		"half a command": func(c *client) { c.send("NOO") },
		"in content":     func(c *client) { c.want("DATA\r\n", "354"); c.send("half\r\n") },
		"between chunks": func(c *client) { c.want("BDAT 2\r\nab", "250") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := new(keeper)
			guarded(t, k, Options{}, func(b *bench) {
				c := b.begun()
				drive(c)
				b.stop()
				if got := c.heard(); got != mailflow.ReplyShuttingDown.String()+"\n" {
					t.Errorf("got %q", got)
				}
				if !c.ended() {
					t.Error("the connection is open")
				}
				late := b.dial("192.0.2.9:2")
				if got := codesOf(late.heard()); got != "421" {
					t.Errorf("a late connection got %q", got)
				}
			})
			if len(k.mails) > 0 {
				t.Error("a mail was taken")
			}
		})
	}
	t.Run("while committing", func(t *testing.T) {
		t.Parallel()
		k := new(keeper)
		guarded(t, k, Options{}, func(b *bench) {
			k.after = b.stop
			c := b.begun()
			c.want("DATA\r\n", "354")
			c.want("x\r\n.\r\n", "250 421")
		})
	})
}

// TestCloseAfter421 proves cure 3 for a 421 of the session.
func TestCloseAfter421(t *testing.T) {
	t.Parallel()
	k := &keeper{mailErr: mailflow.ReplyShuttingDown}
	guarded(t, k, Options{}, func(b *bench) {
		c := b.dial("192.0.2.9:1")
		c.want("EHLO c\r\nMAIL FROM:<s@x.example>\r\nNOOP\r\n", "220 250 421")
		if !c.ended() {
			t.Error("the connection is open")
		}
	})
}

// contents are contents that are refused, and never end early: no command of
// theirs runs.
var contents = map[string]string{
	"bare LF":              "a\nb\r\n.\r\n",
	"bare CR":              "a\rb\r\n.\r\n",
	"NUL":                  "a\x00b\r\n.\r\n",
	"LF . LF":              "a\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"LF . CRLF":            "a\n.\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CRLF . LF":            "a\r\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CR . CR":              "a\r.\rMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CRLF . CR":            "a\r\n.\rMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CR . CRLF":            "a\r.\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"LF . CR":              "a\n.\rMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CRLF . CRCRLF":        "a\r\n.\r\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CRLF . NUL CRLF":      "a\r\n.\x00\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"CR LF split by NUL":   "a\r\x00\n.\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"LF first":             "\n.\r\nMAIL FROM:<evil@x.example>\r\n.\r\n",
	"line too long":        strings.Repeat("x", MaxTextLine) + "\r\n.\r\n",
	"line without an end":  strings.Repeat("x", 300_000) + "\r\n.\r\n",
	"long line after dots": strings.Repeat("..\r\n", 100) + strings.Repeat("x", MaxTextLine) + "\r\n.\r\n",
}

// TestContentRefused proves cures 4 and 6.
func TestContentRefused(t *testing.T) {
	t.Parallel()
	for name, text := range contents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := new(keeper)
			guarded(t, k, Options{}, func(b *bench) {
				c := b.begun()
				c.want("DATA\r\n", "354")
				c.want(text, "550")
				c.want("NOOP\r\nQUIT\r\n", "250 221")
				// In pieces of one byte.
				c = b.begun()
				c.want("DATA\r\n", "354")
				if len(text) < 1000 {
					for i := range text {
						c.send(text[i : i+1])
					}
					c.want("NOOP\r\n", "550 250")
				}
			})
			if len(k.mails) > 0 {
				t.Errorf("a mail was taken: %+v", k.mails)
			}
		})
	}
}

// TestContentTaken holds the guard to giving content exactly, by DATA and BDAT.
func TestContentTaken(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"empty":           {"", ""},
		"plain":           {"a\r\nb\r\n", "a\r\nb\r\n"},
		"dots":            {"..\r\n...a\r\n.b\r\na.\r\n", ".\r\n..a\r\nb\r\na.\r\n"},
		"8 bit":           {"\xff\xc3\xa9\r\n", "\xff\xc3\xa9\r\n"},
		"long line":       {strings.Repeat("x", MaxTextLine-2) + "\r\n", strings.Repeat("x", MaxTextLine-2) + "\r\n"},
		"much":            {strings.Repeat("0123456789\r\n", 50_000), strings.Repeat("0123456789\r\n", 50_000)},
		"blank lines":     {"\r\n\r\n", "\r\n\r\n"},
		"control letters": {"\x01\x7f\t\r\n", "\x01\x7f\t\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := new(keeper)
			guarded(t, k, Options{}, func(b *bench) {
				c := b.begun()
				c.want("DATA\r\n", "354")
				c.want(tt.in+".\r\n", "250")
				c.want("MAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\n", "250 250")
				half := len(tt.want) / 2
				c.want(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, tt.want[:half], len(tt.want)-half, tt.want[half:]), "250 250")
			})
			for i, m := range k.mails {
				if m.content != tt.want {
					t.Errorf("mail %d: got %.200q, want %.200q", i, m.content, tt.want)
				}
			}
			if len(k.mails) != 2 {
				t.Errorf("%d mails", len(k.mails))
			}
		})
	}
}

// TestCommandRefused proves cures 5 and 7: such a command is the last one.
func TestCommandRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"bare LF":          "NOOP\nNOOP\r\nNOOP\r\n",
		"bare CR":          "NOOP\rNOOP\r\nNOOP\r\n",
		"NUL":              "NOOP \x00\r\nNOOP\r\n",
		"LF only":          "\nNOOP\r\n",
		"CRCRLF":           "NOOP\r\r\nNOOP\r\n",
		"no end":           strings.Repeat("x", 20_000_000),
		"HTTP":             "POST / HTTP/1.1\r\n\r\nNOOP\r\n",
		"HTTP/2":           "PRI * HTTP/2.0\r\n\r\nNOOP\r\n",
		"TLS, no line":     "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03",
		"BDAT, no size":    "BDAT\r\nNOOP\r\n",
		"BDAT, bad size":   "BDAT -1\r\nNOOP\r\n",
		"BDAT, more words": "BDAT 1 LAST x\r\nNOOP\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded(t, new(keeper), Options{}, func(b *bench) {
				c := b.begun()
				answer := c.ask(text)
				if codes := codesOf(answer); codes != "500" && codes != "501" {
					t.Errorf("got %q", answer)
				}
				if !c.ended() {
					t.Error("the connection is open")
				}
			})
		})
	}
}

// TestLongCommand: a command that is too long is skipped, and no more.
func TestLongCommand(t *testing.T) {
	t.Parallel()
	guarded(t, new(keeper), Options{}, func(b *bench) {
		c := b.begun()
		c.want("NOOP "+strings.Repeat("x", MaxCommandLine)+"\r\n", "500")
		c.want("NOOP "+strings.Repeat("x", 30000)+"\r\n", "500")
		c.want("NOOP "+strings.Repeat("x", MaxCommandLine-7)+"\r\n", "250")
	})
}

// TestNoInternals proves cure 8.
func TestNoInternals(t *testing.T) {
	t.Parallel()
	secret := errors.New("pq: password authentication failed for user mail")
	for name, tt := range map[string]struct {
		keeper *keeper
		codes  string
	}{
		"mail": {&keeper{mailErr: secret}, "451 503 503"},
		"rcpt": {&keeper{rcptErr: func(mailflow.Address) error { return secret }}, "250 451 503"},
		"data": {&keeper{dataErr: secret}, "250 250 354 451"},
		"wrap": {&keeper{dataErr: fmt.Errorf("x: %w", mailflow.ReplyNoRoom.Because(secret))}, "250 250 354 451"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded(t, tt.keeper, Options{}, func(b *bench) {
				c := b.dial("192.0.2.9:1")
				c.want("EHLO c\r\n", "220 250")
				answer := c.ask("MAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nDATA\r\n")
				if strings.Contains(answer, "354") {
					answer += c.ask("x\r\n.\r\n")
				}
				if codesOf(answer) != tt.codes || strings.Contains(answer, "pq") {
					t.Errorf("got %q, want %q", answer, tt.codes)
				}
			})
		})
	}
}

// TestGuessing proves cure 9: each guess takes longer, and there are few.
func TestGuessing(t *testing.T) {
	t.Parallel()
	k := &keeper{users: map[string]string{"app": "right"}}
	guarded(t, k, Options{}, func(b *bench) {
		c := b.dial("192.0.2.9:1")
		c.want("EHLO c\r\n", "220 250")
		from := time.Now()
		for range MaxAuthFailures - 1 {
			c.send("AUTH PLAIN AGFwcAB3cm9uZw==\r\n")
			time.Sleep(10 * time.Second)
			if got := codesOf(c.heard()); got != "535" {
				t.Errorf("got %q", got)
			}
		}
		_ = from
		before := time.Now()
		c.send("AUTH PLAIN AGFwcAB3cm9uZw==\r\n")
		time.Sleep(7 * time.Second)
		if got := c.heard(); got != "" {
			t.Errorf("after %v got %q", time.Since(before), got)
		}
		time.Sleep(2 * time.Second)
		if got := codesOf(c.heard()); got != "421" {
			t.Errorf("got %q", got)
		}
		if !c.ended() {
			t.Error("the connection is open")
		}
	})
	if got := k.kinds(); len(got) != MaxAuthFailures || got[0] != AuthFailed {
		t.Errorf("incidents %q", got)
	}
}

// TestAuth plays logins that go well, and lines that are none.
func TestAuth(t *testing.T) {
	t.Parallel()
	k := &keeper{users: map[string]string{"app": "right"}}
	guarded(t, k, Options{}, func(b *bench) {
		for _, tt := range []struct{ lines, codes string }{
			{"AUTH PLAIN AGFwcAByaWdodA==\r\n", "235"},
			{"AUTH PLAIN YXBwAGFwcAByaWdodA==\r\n", "235"},
			{"AUTH PLAIN\r\n|AGFwcAByaWdodA==\r\n", "334 235"},
			{"AUTH LOGIN\r\n|YXBw\r\n|cmlnaHQ=\r\n", "334 334 235"},
			{"AUTH LOGIN YXBw\r\n|cmlnaHQ=\r\n", "334 235"},
			{"auth login\r\n|*\r\nNOOP\r\n", "334 501 250"},
			{"AUTH PLAIN !\r\n", "501"},
			{"AUTH PLAIN YQ==\r\n", "501"},
			{"AUTH\r\n", "501"},
			{"AUTH CRAM-MD5\r\n", "504"},
			{"AUTH PLAIN AGFwcAByaWdodA==\r\nAUTH PLAIN AGFwcAByaWdodA==\r\n", "235 503"},
			{"MAIL FROM:<s@x.example>\r\nAUTH PLAIN AGFwcAByaWdodA==\r\n", "250 503"},
			{"AUTH PLAIN " + strings.Repeat("A", 9000) + "\r\n", "501"},
			{"AUTH PLAIN " + strings.Repeat("A", 13000) + "\r\n", "500"},
		} {
			c := b.dial("192.0.2.9:1")
			c.want("EHLO c\r\n", "220 250")
			answer := ""
			for part := range strings.SplitSeq(tt.lines, "|") {
				answer += c.ask(part)
			}
			if got := codesOf(answer); got != tt.codes {
				t.Errorf("%.60q: got %q, want %q", tt.lines, answer, tt.codes)
			}
			c.ask("QUIT\r\n")
		}
	})
}

// TestChunks proves cure 10, and plays what BDAT may do.
func TestChunks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, codes string }{
		"one":                  {"BDAT 3 LAST\r\na\r\n", "250"},
		"no line end":          {"BDAT 1 LAST\r\na", "250"},
		"CR LF split":          {"BDAT 2\r\na\rBDAT 1 LAST\r\n\n", "250 250"},
		"CR, empty, LF":        {"BDAT 2\r\na\rBDAT 0\r\nBDAT 1 LAST\r\n\n", "250 250 250"},
		"empty last":           {"BDAT 3\r\na\r\nBDAT 0 LAST\r\n", "250 250"},
		"NOOP between":         {"BDAT 3\r\na\r\nNOOP\r\nBDAT 0 LAST\r\n", "250 250 250"},
		"a dot is a dot":       {"BDAT 8 LAST\r\n.\r\nMAIL ", "250"},
		"CR at the end":        {"BDAT 2 LAST\r\na\rNOOP\r\n", "550 250"},
		"CR then other":        {"BDAT 2\r\na\rBDAT 1 LAST\r\nbNOOP\r\n", "250 550 250"},
		"bare LF":              {"BDAT 3\r\na\nbBDAT 1 LAST\r\ncNOOP\r\n", "550 503 250"},
		"reset":                {"BDAT 3\r\na\r\nRSET\r\nNOOP\r\n", "250 250 250"},
		"hello":                {"BDAT 3\r\na\r\nEHLO c\r\nNOOP\r\n", "250 250 250"},
		"quit":                 {"BDAT 3\r\na\r\nQUIT\r\n", "250 221"},
		"other between":        {"BDAT 3\r\na\r\nMAIL FROM:<>\r\nDATA\r\nRSET\r\n", "250 503 503 250"},
		"no transaction":       {"RSET\r\nBDAT 10 LAST\r\nMAIL FROM:NOOP\r\n", "250 503 250"},
		"too big":              {"BDAT 2000 LAST\r\n" + strings.Repeat("x", 2000) + "NOOP\r\n", "552 250"},
		"too big together":     {"BDAT 900\r\n" + strings.Repeat("x", 900) + "BDAT 200 LAST\r\n" + strings.Repeat("x", 200) + "NOOP\r\n", "250 552 250"},
		"gone":                 {"BDAT 3\r\na", ""},
		"bad size in between":  {"BDAT 3\r\na\r\nBDAT x\r\n", "250 501"},
		"bare LF in between":   {"BDAT 3\r\na\r\nNOOP\nBDAT 0 LAST\r\n", "250 500"},
		"too long in between":  {"BDAT 3\r\na\r\nNOOP " + strings.Repeat("x", 3000) + "\r\n", "250 500"},
		"two transactions":     {"BDAT 3 LAST\r\na\r\nMAIL FROM:<>\r\nRCPT TO:<r@a.example>\r\nBDAT 3 LAST\r\na\r\n", "250 250 250 250"},
		"huge":                 {"BDAT 1000000000000 LAST\r\nx", "552"},
		"huge, no transaction": {"RSET\r\nBDAT 1000000000000 LAST\r\nx", "250 503"},
		"empty without end":    {strings.Repeat("BDAT 0\r\n", 2*MaxIdleCommands), strings.Repeat("250 ", MaxIdleCommands) + "421"},
		"DATA in the middle":   {"BDAT 3\r\na\r\nDATA\r\nBDAT 0 LAST\r\n", "250 503 250"},
		"BDAT after the fault": {"BDAT 2 LAST\r\n\x00\x00BDAT 1 LAST\r\nx", "550 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &keeper{maxSize: 1000}
			guarded(t, k, Options{}, func(b *bench) {
				c := b.begun()
				if got := codesOf(c.ask(tt.text)); got != tt.codes {
					t.Errorf("got %q, want %q", got, tt.codes)
				}
				_ = c.conn.Close()
			})
			for _, m := range k.mails {
				if want := "a\r\n"; m.content != want && !strings.HasPrefix(m.content, ".") {
					t.Errorf("content %q", m.content)
				}
			}
			if taken := strings.Contains(tt.text, "LAST") && !slices.ContainsFunc(strings.Fields(tt.codes), func(c string) bool { return c > "503" }); len(k.mails) > 0 && !taken {
				t.Errorf("mails %+v", k.mails)
			}
		})
	}
}

// TestPaths proves cure 11.
func TestPaths(t *testing.T) {
	t.Parallel()
	k := new(keeper)
	guarded(t, k, Options{}, func(b *bench) {
		for _, tt := range []struct{ command, codes string }{
			{"RCPT TO:<Postmaster>", "250"},
			{"RCPT TO:<postmaster>", "250"},
			{"RCPT TO:<somebody>", "501"},
			{"RCPT TO:<>", "501"},
			{`RCPT TO:<"a b"@a.example>`, "250"},
			{`RCPT TO:<"a>b"@a.example>`, "250"},
			{`RCPT TO:<"a@b"@a.example>`, "250"},
			{`RCPT TO:<a@b@a.example>`, "501"},
			{"RCPT TO:<@x.example,@y.example:r@a.example>", "250"},
			{"RCPT TO: <r@a.example>", "250"},
			{"RCPT TO:r@a.example NOTIFY=NEVER", "250"},
			{"RCPT TO:<r@a.example", "501"},
			{"RCPT TO:<r@a.example>x", "501"},
			{"RCPT TO:r@a.example>", "501"},
			{"RCPT TO:<r@a.example> NOTIFY=NEVER NOTIFY=NEVER", "501"},
			{"RCPT TO:<r@a.example> NOTIFY=NEVER,FAILURE", "501"},
			{"RCPT TO:<r@a.example> ORCPT=rfc822;a+2Bb@c", "250"},
			{"RCPT TO:<r@a.example> X=1", "555"},
			{"RCPT TO:<é@a.example>", "553"},
			{"RCPT TO:<r@é.example>", "553"},
			{"RCPT TO:<\xff@a.example>", "501"},
			{"RCPT TO <r@a.example>", "501"},
			{"MAIL FROM:<s@x.example>", "503"},
			{"RCPT TO:<" + strings.Repeat("x", 200) + "@a.example>", "501"},
		} {
			c := b.dial("192.0.2.9:1")
			c.want("EHLO c\r\nMAIL FROM:<s@x.example>\r\n", "220 250 250")
			c.want(tt.command+"\r\n", tt.codes)
			c.ask("QUIT\r\n")
		}
		for _, tt := range []struct{ command, codes string }{
			{"MAIL FROM:<>", "250"},
			{"MAIL FROM:<postmaster>", "501"},
			{"MAIL FROM:<é@x.example>", "553"},
			{"MAIL FROM:<é@x.example> SMTPUTF8", "250"},
			{"MAIL FROM:<s@x.example> SIZE=99999999999999999999", "250"},
			{"MAIL FROM:<s@x.example> SIZE=-1", "501"},
			{"MAIL FROM:<s@x.example> SIZE", "501"},
			{"MAIL FROM:<s@x.example> SIZE=1 SIZE=2", "501"},
			{"MAIL FROM:<s@x.example> BODY=BINARYMIME", "555"},
			{"MAIL FROM:<s@x.example> BODY=8bitmime RET=full ENVID=x AUTH=<>", "250"},
			{"MAIL FROM:<s@x.example> REQUIRETLS", "555"},
			{"MAIL FROM:<s@x.example> X=1", "555"},
			{"MAIL FROM:s@x.example", "250"},
			{"MAIL s@x.example", "501"},
		} {
			c := b.dial("192.0.2.9:1")
			c.want("EHLO c\r\n", "220 250")
			c.want(tt.command+"\r\n", tt.codes)
			c.ask("QUIT\r\n")
		}
	})
}

// TestParameters holds the guard to handing parameters on decoded.
func TestParameters(t *testing.T) {
	t.Parallel()
	k := new(keeper)
	guarded(t, k, Options{}, func(b *bench) {
		c := b.dial("192.0.2.9:1")
		c.want("EHLO c\r\n", "220 250")
		c.want("MAIL FROM:<S@X.example> SIZE=77 BODY=8BITMIME RET=HDRS ENVID=a+2Bb SMTPUTF8\r\n", "250")
		c.want("RCPT TO:<é@a.example> NOTIFY=success,DELAY ORCPT=utf-8;\\x{E9}@a.example\r\n", "250")
		c.want("DATA\r\n", "354")
		c.want(".\r\n", "250")
	})
	if len(k.mails) != 1 {
		t.Fatal("no mail")
	}
	m := k.mails[0]
	if m.size != 77 || m.env.From.String() != "S@x.example" || m.env.Body != mailflow.Body8BitMIME || m.env.Return != mailflow.ReturnHeaders ||
		m.env.EnvelopeID != "a+b" || !m.env.SMTPUTF8 || m.word != "UTF8SMTP" {
		t.Errorf("envelope %+v", m)
	}
	r := m.env.Recipients[0]
	if r.Address.String() != "é@a.example" || !slices.Equal(r.Notify, []mailflow.Notify{mailflow.NotifySuccess, mailflow.NotifyDelay}) ||
		r.OriginalType != "utf-8" || r.Original != "é@a.example" {
		t.Errorf("recipient %+v", r)
	}
}

// TestTooMuch holds a peer to the limits of a connection.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	refuse := &keeper{rcptErr: func(mailflow.Address) error { return mailflow.ReplyUnknownRecipient }}
	surplus := &keeper{rcptErr: func(mailflow.Address) error {
		return &mailflow.Reply{Code: 452, Enhanced: mailflow.EnhancedCode{4, 5, 3}, Text: "Too many recipients"}
	}}
	for name, tt := range map[string]struct {
		keeper *keeper
		line   string
		before int // how many go well
	}{
		"unknown commands":   {new(keeper), "FOO\r\n", MaxErrors - 1},
		"bad sequence":       {new(keeper), "MAIL FROM:<>\r\n", MaxErrors - 1},
		"not implemented":    {new(keeper), "HELP\r\n", MaxErrors - 1},
		"unknown recipients": {refuse, "RCPT TO:<r@a.example>\r\n", MaxRefusedRecipients - 1},
		"surplus recipients": {surplus, "RCPT TO:<r@a.example>\r\n", MaxSurplusRecipients - 1},
		"idle talk":          {new(keeper), "NOOP\r\n", MaxIdleCommands - 1},
		"RSET and nothing":   {new(keeper), "RSET\r\n", MaxIdleCommands - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded(t, tt.keeper, Options{}, func(b *bench) {
				c := b.dial("192.0.2.9:1")
				c.want("EHLO c\r\nMAIL FROM:<>\r\n", "220 250 250")
				for range tt.before {
					c.send(tt.line)
				}
				if got := c.heard(); strings.Contains(got, "421") {
					t.Fatalf("too early: %q", got)
				}
				c.want(tt.line+"NOOP\r\n", "421")
				if !c.ended() {
					t.Error("the connection is open")
				}
			})
		})
	}
}

// TestSessions holds the guard to its limits on sessions.
func TestSessions(t *testing.T) {
	t.Parallel()
	k := new(keeper)
	guarded(t, k, Options{MaxSessions: 3, MaxSessionsPerIP: 2}, func(b *bench) {
		a := b.dial("192.0.2.1:1")
		synctest.Wait() // they are admitted beside one another
		b.dial("192.0.2.1:2")
		synctest.Wait()
		if got := codesOf(b.dial("192.0.2.1:3").heard()); got != "421" {
			t.Errorf("the third of an address got %q", got)
		}
		if got := codesOf(b.dial("192.0.2.2:1").heard()); got != "220" {
			t.Errorf("another address got %q", got)
		}
		if got := codesOf(b.dial("192.0.2.3:1").heard()); got != "421" {
			t.Errorf("the fourth got %q", got)
		}
		a.want("QUIT\r\n", "220 221")
		synctest.Wait()
		if got := codesOf(b.dial("192.0.2.1:4").heard()); got != "220" {
			t.Errorf("after one left, got %q", got)
		}
	})
}

// TestPanic holds a panicking session to its own connection.
func TestPanic(t *testing.T) {
	t.Parallel()
	k := &keeper{before: func() { panic("poison") }}
	guarded(t, k, Options{}, func(b *bench) {
		c := b.begun()
		c.want("DATA\r\n", "354")
		c.want("x\r\n.\r\n", "421")
		if !c.ended() {
			t.Error("the connection is open")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.incidents) != 1 || k.incidents[0].Kind != Panicked {
			t.Errorf("incidents %v", k.incidents)
		}
		k.incidents = nil
	})
}

// TestStartTLS plays STARTTLS and implicit TLS, and what must not pass.
func TestStartTLS(t *testing.T) {
	t.Parallel()
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	k := &keeper{users: map[string]string{"app": "right"}}
	secure := func(c *client) *tls.Conn {
		conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	guarded(t, k, Options{TLS: func() *tls.Config { return config }}, func(b *bench) {
		near, far := net.Pipe()
		b.ln.conns <- &addressed{Conn: far, peer: "192.0.2.9:1"}
		r := bufio.NewReader(near)
		readReply(t, r, "220")
		_, _ = io.WriteString(near, "EHLO c\r\n")
		if hello := readReply(t, r, "250"); !strings.Contains(hello, "STARTTLS") {
			t.Errorf("no STARTTLS in %q", hello)
		}
		_, _ = io.WriteString(near, "STARTTLS\r\n")
		readReply(t, r, "220")
		conn := secure(&client{conn: near})
		r = bufio.NewReader(conn)
		for _, step := range []struct{ line, code string }{
			{"MAIL FROM:<>\r\n", "503"},
			{"EHLO c\r\n", "250"},
			{"STARTTLS\r\n", "503"},
			{"AUTH PLAIN AGFwcAByaWdodA==\r\n", "235"},
			{"MAIL FROM:<>\r\n", "250"},
			{"RCPT TO:<r@a.example>\r\n", "250"},
			{"DATA\r\n", "354"},
			{"x\n.\r\n.\r\n", "550"},
			{"MAIL FROM:<>\r\n", "250"},
			{"RCPT TO:<r@a.example>\r\n", "250"},
			{"DATA\r\n", "354"},
			{"x\r\n.\r\n", "250"},
			{"QUIT\r\n", "221"},
		} {
			_, _ = io.WriteString(conn, step.line)
			if got := readReply(t, r, step.code); strings.Contains(got, "STARTTLS\n") {
				t.Errorf("STARTTLS is offered in TLS: %q", got)
			}
		}
		injected := b.dial("192.0.2.9:1")
		injected.want("EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@x.example>\r\n", "220 250 503")
		if !injected.ended() {
			t.Error("the connection is open after a command behind STARTTLS")
		}
		garbage := b.dial("192.0.2.9:1")
		garbage.want("EHLO c\r\nSTARTTLS\r\n", "220 250 220")
		garbage.send("MAIL FROM:<evil@x.example>\r\n")
		if !garbage.ended() {
			t.Error("the connection is open after garbage instead of TLS")
		}
	})
	if len(k.mails) != 1 || k.mails[0].word != "ESMTPSA" || k.mails[0].content != "x\r\n" {
		t.Errorf("mails %+v", k.mails)
	}
	guarded(t, new(keeper), Options{Implicit: true, TLS: func() *tls.Config { return config }}, func(b *bench) {
		near, far := net.Pipe()
		b.ln.conns <- &addressed{Conn: far, peer: "192.0.2.9:1"}
		conn := secure(&client{conn: near})
		r := bufio.NewReader(conn)
		readReply(t, r, "220")
		_, _ = io.WriteString(conn, "EHLO c\r\n")
		if hello := readReply(t, r, "250"); strings.Contains(hello, "STARTTLS") {
			t.Errorf("STARTTLS in %q", hello)
		}
		b.stop()
		readReply(t, r, "421")
		_ = conn.Close()
	})
}

// readReply reads a reply with that code.
func readReply(t *testing.T, r *bufio.Reader, code string) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, all.String())
		}
		all.WriteString(strings.ReplaceAll(line, "\r\n", "\n"))
		if len(line) > 3 && line[3] == ' ' {
			if line[:3] != code {
				t.Fatalf("got %q, want %s", all.String(), code)
			}
			return all.String()
		}
	}
}
