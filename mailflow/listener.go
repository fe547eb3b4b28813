// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"io"
	"net"
)

// Listener receives mail from connections. The engine owns the sockets, which
// outlive configurations; a Listener is one configuration's way to speak on
// them. It must not have methods Start() error and Stop() error, or Caddy
// takes it for an app.
type Listener interface {
	// Serve speaks with the peers that ln accepts, each in a goroutine of its
	// own, until ln.Accept fails; it then returns nil at once, and the
	// sessions that are open go on until they end or ctx does. When ctx ends
	// every session is closed, after a 421 where the protocol has one.
	// Accepted connections are the Listener's to close.
	Serve(ctx context.Context, ln net.Listener, gate Gate) error
}

// Named is a [Listener] or [Fetcher] that wants to know its name in the
// configuration, for [Peer.Listener]. SetName is called once, before Serve.
type Named interface {
	SetName(name string)
}

// Gate is a listener's way into the engine. It is safe for concurrent use.
type Gate interface {
	// Current returns the newest configuration's Listener on this socket,
	// which may be another than the one that serves the session: users,
	// networks and limits are asked there at each MAIL. It returns nil when
	// the newest configuration has none here or the engine is draining.
	Current() Listener

	// Begin opens a transaction and pins the newest generation for it, until
	// Commit or Abort. env has no recipients yet. The error is a [Reply].
	Begin(ctx context.Context, peer *Peer, env *Envelope) (Intake, error)
}

// Intake is one transaction while it is received. Its methods are called one
// after the other; every Intake ends with one Commit or one Abort.
type Intake interface {
	// Rcpt adds a recipient, or refuses it with an error that is a [Reply].
	// A mailbox that is in the envelope already is accepted and not added.
	Rcpt(ctx context.Context, rcpt Recipient) error

	// Commit reads the content, decides and commits it. Only when it returns
	// may the peer be answered. It returns one reply for each recipient that
	// Rcpt accepted, in order; or an error, a [Reply] for all of them, in
	// which case nothing is kept. An error of r aborts.
	//
	// content must have CRLF line ends and must not be dot-stuffed.
	Commit(ctx context.Context, content io.Reader) ([]*Reply, error)

	// Abort ends the transaction and keeps nothing. After Commit it does
	// nothing.
	Abort()
}

// OneReply reduces the replies of [Intake.Commit] to the one that SMTP has:
// 5xx or 4xx only if every recipient is refused, and then the most temporary
// code; else the first acceptance. rs must not be empty.
func OneReply(rs []*Reply) *Reply {
	best := rs[0]
	for _, r := range rs[1:] {
		if r.Code/100 < best.Code/100 {
			best = r
		}
	}
	return best
}
