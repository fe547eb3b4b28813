// SPDX-License-Identifier: Apache-2.0

// Package smtpguard receives mail by SMTP and LMTP from peers that nobody
// vouches for.
// It runs go-smtp for the protocol and stands between it and the connection,
// where it cures what go-smtp lets through.
//
// # How it stands
//
// go-smtp never sees a socket. Each connection gets a go-smtp server of its
// own that speaks with a stream of ours. The stream hands it one checked
// command at a time and reads each reply before it leaves, so the guard always
// knows what the next bytes of the peer are: a command, a line of a login, or
// content. TLS ends below the stream, so that what comes through TLS is checked
// like anything else. Content does not pass through go-smtp at all: go-smtp is
// told that it was empty, and the [Session] reads it from the guard, block by
// block.
//
// # What it cures
//
// The numbers are those of the defects that were measured in go-smtp v0.25.1.
//
//  1. Its read deadline is per command: a slow but steady upload got 554. Here
//     each block of content has a deadline that rolls on, each stage a total,
//     and a peer that exceeds them gets 421 ([Timeouts]).
//  2. Its Close does nothing after a Shutdown that timed out. Here the context
//     of [Server.Serve] ends every session.
//  3. It goes on after a 421. Here a 421 is flushed and the connection closed.
//  4. It takes bare CR, bare LF and NUL in content, and hands them on. Here such
//     content is read to its true end, CRLF "." CRLF, and refused with 550, so
//     that no other server can see another end in it (SMTP smuggling).
//  5. It takes a bare LF as the end of a command. Here a command with a bare LF,
//     a bare CR or NUL is refused with 500 and the connection closed.
//  6. Its one line limit breaks off content with long lines. Here commands have
//     [MaxCommandLine], logins [MaxAuthLine], content [MaxTextLine].
//  7. Without that limit it buffers any command. Here what exceeds a limit is
//     thrown away as it comes.
//  8. It tells the text of internal errors to the peer. Here every error goes
//     through [mailflow.AsReply].
//  9. It lets a peer guess passwords for ever. Here each failure costs time and
//     [MaxAuthFailures] the connection; further connections of the same peer go
//     on where it left off ([Guesses]). [MaxErrors] bounds other errors.
//  10. With BDAT it resets a session while its Data runs. Here BDAT becomes
//     content like that of DATA: all methods of a session run one after the
//     other.
//  11. It refuses <Postmaster>, takes UTF-8 addresses without SMTPUTF8 and
//     strips the quotes of local parts. Here the guard reads the paths itself.
//
// # LMTP
//
// go-smtp's LMTP is not used either: to go-smtp an LMTP session ([Options].LMTP)
// is one of SMTP. The guard takes LHLO for EHLO, and says one reply for each
// accepted RCPT where the session has one for each mailbox (RFC 2033).
//
// # Crowds
//
// The loop that accepts connections never waits for one of them: a connection
// behind a PROXY protocol wrapper does not even tell its address before its
// header has come. What is counted by address, [Connections] and [Guesses], may
// be shared by several servers, and so outlive a configuration.
//
// # Further
//
// Also mended on the way: a second MAIL in a transaction, AUTH in a transaction,
// SIZE beyond 4 GiB, parameters that stand twice, commands that were pipelined
// behind STARTTLS, replies without the codes that RFC 5321 has for them. What is
// another protocol ends the session: HTTP, behind whose head a web page may have
// a browser send mail, and TLS in clear, which waits for an answer that is none.
package smtpguard
