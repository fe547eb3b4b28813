// SPDX-License-Identifier: Apache-2.0

// Package inbound has the doors by which mail comes in.
//
// A door, mail.listeners.smtp or mail.listeners.lmtp, takes connections from the sockets that the
// engine owns. The protocol and the defence against hostile peers are
// internal/wire/smtpguard's; a door decides who the peer is and what it may do:
// which roles the door has ([SMTP.Receive], [SMTP.Submit]), which user has
// logged in, and which networks it trusts. That becomes a [mailflow.Peer], and
// what the peer may then send to whom is decided by the engine.
//
// A session outlives the configuration under which it began. At each MAIL it
// asks the gate for the newest configuration of its door, and what holds is
// what stands there: a user who is gone gets 421 and loses the connection. A
// user's hash is read at each login, so that its file may change without a
// reload.
//
// # TLS
//
// A door says how it encrypts ([SMTP.ConnectionPolicies]), and is handed what
// to encrypt with ([SMTP.UseTLS]): the app knows the hostname, and has Caddy's
// tls app get and renew the certificate. While there is none STARTTLS is not
// offered, since a handshake that fails would bounce mail that could come in
// clear. Each handshake asks the newest configuration.
//
// # Wrappers
//
// Modules of caddy.listeners wrap each configuration's share of a socket, below
// TLS. So the PROXY protocol can come and go by a reload while the socket stays
// open, and all that goes by the peer's address goes by the one it told.
//
// # Limits
//
// What is counted, open connections by listener and failed logins by address,
// lives with the process. For loopback, unix sockets and the networks that may
// submit the limits of one address do not hold: they speak for many.
package inbound
