// SPDX-License-Identifier: Apache-2.0

// Package reply decides to which thread a mail belongs that answers another.
//
// What proves the thread, the strongest first:
//
//   - [ProofAddress]: a signed token in the address that the mail came to.
//   - [ProofStored]: a Message-Id in References or In-Reply-To that a post has,
//     or that a relay put in the place of a post's.
//   - [ProofSigned]: a Message-Id there that was minted here: its signature
//     names the thread, even when the post is gone.
//   - [ProofForeign]: an id that Odoo made: it names a record, unsigned.
//   - [ProofIndex]: Outlook's Thread-Index, which all mails of a conversation
//     share, also those that were never ours.
//
// [Quotes] reads what a mail quotes, [Quoted.Lookup] says what to ask the
// store for, and [Decide] chooses. Evidence that is weak, or that names
// several threads, counts only for a sender who has to do with the thread, and
// the post is marked. Nothing is guessed into a stranger's thread: such a mail
// goes on as if it answered nothing.
//
// Odoo looks at In-Reply-To only if there are no References, takes the newest
// of the posts that are quoted, and asks nobody who he is.
package reply
