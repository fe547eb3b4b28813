// SPDX-License-Identifier: Apache-2.0

// Package inbound has the doors by which mail comes in.
//
// A door, mail.listeners.smtp, takes connections from the sockets that the
// engine owns. The protocol and the defence against hostile peers are
// internal/wire/smtpguard's; a door decides who the peer is and what it may do:
// which roles the door has ([SMTP.Receive], [SMTP.Submit]), which user has
// logged in, and which networks it trusts. That becomes a [mailflow.Peer], and
// what the peer may then send to whom is decided by the engine.
//
// A session outlives the configuration under which it began. At each MAIL it
// asks the gate for the newest configuration of its door, and what holds is
// what stands there: a user who is gone gets 421 and loses the connection.
package inbound
