// SPDX-License-Identifier: Apache-2.0

// Package smtprelay is an SMTP and LMTP client that is made for relaying: it
// hands messages to a next hop and reports exactly what the next hop said.
//
// # Connections
//
// [Dial] opens a [Conn] as a [Config] says: it looks the host up, tries its
// addresses in order, reads the greeting, says EHLO (HELO to a server that
// knows no EHLO, LHLO in LMTP), starts TLS and logs in, by a password or by an
// access token of OAuth2. Neither is ever sent in clear to a host that is not
// loopback. Whatever goes wrong so far is a [StageError], which wraps
// [mailflow.ErrUnreachable]: a 5xx to the greeting, to EHLO or to AUTH is the
// operator's problem, not the mail's, and never fails a mail.
//
// # Transactions
//
// [Conn.Deliver] makes one attempt: MAIL, RCPT and DATA leave in one write
// where the server offers PIPELINING (RFC 2920), and the content streams
// through one block of memory, whatever its size. Each recipient gets its own
// result: 2xx sent, 4xx deferred, 5xx failed; in LMTP (RFC 2033) by the reply
// that each has after the content. A delivery of more recipients than a server
// takes at once is sent in several transactions.
//
// What a message needs is asked of the server first. Content that is too big,
// addresses or headers that need SMTPUTF8, and REQUIRETLS are refused here,
// with the reply of the RFC in question, where the server does not offer them.
// 8-bit content is re-encoded instead. The DSN parameters (RFC 3461) are
// handed on; a recipient whose sender wants a report of success is marked
// Relayed where the server does not take them.
//
// # Broken connections
//
// A stall, a reset and garbage instead of a reply end the attempt with an
// error that is temporary. When the content had left and its reply was lost,
// the error wraps [ErrOutcomeUnknown]: the mail may have arrived, and the next
// attempt may double it (RFC 1047).
//
// Waiting is bounded by [Timeouts], for each line of a reply and each block of
// content: a peer that is slow but moves is let go on until the context ends.
// All that a server says is bounded in length before it is looked at.
//
// # Reuse
//
// A [Pool] keeps connections for the next message. One that turns out to be
// closed before it answered MAIL is replaced once by a fresh one, without a
// failed attempt.
package smtprelay
