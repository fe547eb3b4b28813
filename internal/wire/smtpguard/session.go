// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Backend is what the guard protects.
type Backend interface {
	// Open begins a session at the first EHLO or LHLO, and again after STARTTLS. c is
	// kept up to date while the session lasts.
	Open(c *Client) Session
}

// Session is one peer's session. Its methods run one after the other. Errors
// that are or wrap a [mailflow.Reply] are told to the peer as that reply; any
// other is told as 451 and no more. A reply of 421 ends the connection.
type Session interface {
	// Mechanisms returns the login mechanisms that the peer may use now, of
	// "PLAIN" and "LOGIN"; none if it may not log in.
	Mechanisms() []string
	// Auth checks a login. The guard makes a peer wait after a failure.
	Auth(ctx context.Context, user, password string) error
	// MaxSize returns the size limit of a message, in bytes. It is asked at
	// EHLO, and after each Mail for the content.
	MaxSize() int64
	// Mail opens a transaction. size is the SIZE parameter, 0 if not given.
	Mail(ctx context.Context, env *mailflow.Envelope, size int64) error
	// Rcpt adds a recipient to the transaction.
	Rcpt(ctx context.Context, rcpt mailflow.Recipient) error
	// Data takes the content: CRLF line ends, not dot-stuffed, no bare CR, bare
	// LF or NUL. An error of content means that the transaction has failed,
	// whatever Data returns. It returns one reply for each accepted recipient,
	// in order, or an error for all.
	Data(ctx context.Context, content io.Reader) ([]*mailflow.Reply, error)
	// Reset ends the transaction, if there is one, and keeps nothing of it. It
	// comes after every Mail that went well: after Data, RSET, EHLO, and the
	// end of the connection.
	Reset()
}

// Client is what the guard knows of the peer. It belongs to the session's
// goroutine.
type Client struct {
	// IP is the peer's address, with IPv4 in its own form; invalid on unix
	// sockets.
	IP netip.Addr
	// Local is set for peers on this machine: on unix sockets and loopback.
	Local bool
	// Hello is what the peer called itself.
	Hello string
	// Extended is set by EHLO and LHLO, and not by HELO.
	Extended bool
	// LMTP is set where the protocol is LMTP.
	LMTP bool
	// TLS is the state of the connection's TLS; nil in clear.
	TLS *tls.ConnectionState
}

// Protocol returns the "with" word of the Received field for a transaction
// (RFC 3848; with SMTPUTF8 RFC 6531 section 4.3 and RFC 6533). user is who has logged in;
// empty if nobody has.
func (c *Client) Protocol(env *mailflow.Envelope, user string) string {
	word := "SMTP"
	switch {
	case c.LMTP && env.SMTPUTF8:
		word = "UTF8LMTP"
	case c.LMTP:
		word = "LMTP"
	case env.SMTPUTF8:
		word = "UTF8SMTP"
	case c.Extended || user != "" || c.TLS != nil:
		word = "ESMTP"
	}
	if c.TLS != nil {
		word += "S"
	}
	if user != "" {
		word += "A"
	}
	return word
}
