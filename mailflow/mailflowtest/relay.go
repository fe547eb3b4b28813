// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"testing"
)

// Relay is the far end of a transport: an SMTP or LMTP server in the test's
// process, which takes every mail and keeps it. Its script makes it fail at any
// stage in any way. Set the fields, then call [Relay.Start].
type Relay struct {
	// LMTP makes it speak LMTP.
	LMTP bool
	// Offers are the lines of its EHLO reply; nil for [RelayOffers]. STARTTLS
	// and AUTH are added by TLS and Users. An empty list offers nothing.
	Offers []string
	// TLS makes it offer STARTTLS, Implicit speak TLS from the first byte.
	TLS      *tls.Config
	Implicit bool
	// Users makes it offer AUTH: passwords by name.
	Users map[string]string
	// Bearer makes it offer AUTH XOAUTH2 and OAUTHBEARER: it says whether an
	// access token proves a user. One that does not is answered with the
	// challenge of RFC 7628 section 3.2.2, and 535 behind it.
	Bearer func(user, token string) bool
	// Script is asked at each stage what to do; nil, or an answer of nil, does
	// what a good server does. Several sessions ask at once.
	Script func(RelayEvent) RelayAct
	// Unix makes it listen on a socket of that path, not on 127.0.0.1.
	Unix string

	ln       net.Listener
	sessions sync.WaitGroup
	stopped  chan struct{}

	mu       sync.Mutex
	open     map[net.Conn]bool
	conns    int
	commands []string
	messages []RelayMessage
	done     bool
}

// RelayOffers are the extensions that a [Relay] offers by itself.
var RelayOffers = []string{"PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

// RelayMessage is one mail that a [Relay] took.
type RelayMessage struct {
	// Conn is the number of the connection, from 1, and Number that of the
	// message on it, from 1.
	Conn, Number int
	// Mail and Rcpt are the arguments of the commands as they came, without
	// "FROM:" and "TO:": "<a@b.example> SIZE=3". Only accepted recipients.
	Mail string
	Rcpt []string
	// Content is what came, without the stuffed dots.
	Content []byte
	// TLS is set when it came protected, User after AUTH.
	TLS  bool
	User string
	// Pipelined is set when RCPT had arrived before MAIL was answered.
	Pipelined bool
}

// Start listens until the test ends and returns the address, "127.0.0.1:PORT"
// or the path of the socket.
func (r *Relay) Start(tb testing.TB) string {
	tb.Helper()
	network, address := "tcp", "127.0.0.1:0"
	if r.Unix != "" {
		network, address = "unix", r.Unix
	}
	ln, err := new(net.ListenConfig).Listen(tb.Context(), network, address)
	if err != nil {
		tb.Fatalf("starting the relay: %v", err)
	}
	r.ln, r.stopped = ln, make(chan struct{})
	r.sessions.Go(r.accept)
	tb.Cleanup(r.Stop)
	return ln.Addr().String()
}

// Stop closes the socket and all connections, and waits for their end.
func (r *Relay) Stop() {
	_ = r.ln.Close()
	r.mu.Lock()
	if !r.done {
		r.done = true
		close(r.stopped)
	}
	r.mu.Unlock()
	r.CloseConnections()
	r.sessions.Wait()
}

// CloseConnections closes what is open, as a server does with idle
// connections. New ones are welcome.
func (r *Relay) CloseConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for nc := range r.open {
		_ = nc.Close()
	}
}

// Messages returns the mails that it took, in order. Content that was refused
// or never answered is not among them.
func (r *Relay) Messages() []RelayMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// Commands returns all command lines of all connections, in order; passwords
// among them.
func (r *Relay) Commands() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.commands)
}

// Connections returns how many connections there were.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns
}

func (r *Relay) accept() {
	for {
		nc, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns++
		if r.open == nil {
			r.open = make(map[net.Conn]bool)
		}
		r.open[nc] = true
		s := newRelaySession(r, nc, r.conns)
		if r.done {
			_ = nc.Close()
		}
		r.mu.Unlock()
		r.sessions.Go(func() {
			s.serve()
			_ = nc.Close()
			r.mu.Lock()
			delete(r.open, nc)
			r.mu.Unlock()
		})
	}
}

func (r *Relay) note(command string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, command)
}

func (r *Relay) take(m RelayMessage) {
	m.Rcpt, m.Content = slices.Clone(m.Rcpt), bytes.Clone(m.Content)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
}
