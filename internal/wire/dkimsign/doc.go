// SPDX-License-Identifier: Apache-2.0

// Package dkimsign signs messages (DKIM, RFC 6376), with RSA and Ed25519 keys
// (RFC 8301, RFC 8463).
//
// A [Signer] has one or two keys of a domain and makes one signature with each:
// a verifier that does not know Ed25519 yet takes the other one (RFC 8463
// section 3). Header and body are signed in their relaxed form, which survives
// folding and trailing blanks. The message streams through go-msgauth, which
// makes the signatures; its header alone is kept in memory.
//
// # What is signed
//
// From, Subject, Date, To, Cc, Reply-To, List-Unsubscribe and
// List-Unsubscribe-Post are sealed: they are listed once more than they occur,
// so that nobody can add a second Subject, or a first Cc, without breaking the
// signature (RFC 6376 section 8.15). MIME-Version, Content-Type and
// Content-Transfer-Encoding are sealed where they occur, since a second one
// shows other content; where they are missing a relay may add them. Sender,
// Message-Id, In-Reply-To, References and List-Id are signed as they are. The
// body is always signed whole: there is no l=.
//
// A relay that replaces a signed field, such as one that writes its own
// Message-Id and Date, breaks the signature. It counts as none then (RFC 6376
// section 6.1), and the relay's own takes its place.
//
// # What is refused
//
// What verifiers would read in different ways is not signed: a CR or LF alone,
// a line in the header that is no field and looks like a signed one, a message
// without From. Nor is a message beyond the limits of this package: on the size
// of its header, the fields of one name, and empty lines in a row.
//
// # Keys
//
// The text of a key is asked for with each message and parsed when it has
// changed, so that a key file that was replaced counts at the next attempt. No
// error shows a key. [Generate] makes a key, and [Record] is what the DNS says
// of it.
package dkimsign
