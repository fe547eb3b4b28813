// SPDX-License-Identifier: Apache-2.0

// Package relay decides by which outgoing server a mail leaves.
//
// The decision rests on the author's address (the From field), on the
// default_from of the message's domain, which may stand in for the author, and
// on what each server says in its from_filter, a [Filter]. [Choose] goes
// through steps and takes the first one that finds a server. The documented
// order is:
//
//  1. the author's address stands in the filter ([StepAddress])
//  2. the author's domain stands in the filter ([StepDomain])
//  3. the server has no filter ([StepOpen])
//  4. the address of default_from stands in the filter ([StepFromAddress])
//  5. its domain stands in the filter ([StepFromDomain])
//  6. whatever its filter says: mail that is accepted has to leave
//     ([StepLast])
//
// Odoo itself goes through 1, 2, 4, 5, 3, 6. Within a step the lower priority
// goes first, then the name. The server that says default takes no part in
// this; it is used only when there is no other server at all ([StepDefault]).
// Without any server nothing is sent ([StepNone]).
//
// # Purposes
//
// Servers that are dedicated to mass mail take all mass mail ([StepPurpose]),
// by the order among themselves, and no transactional mail; without such a
// server mass mail goes by those that are dedicated to nothing. A server that
// is dedicated to the other purpose is used only when there is no other.
//
// # Fail-over
//
// A server that is down gives way to the next one of the same purpose that may
// carry the mail: one without a filter, or whose filter allows the author, or
// the default_from where the author is encapsulated in it anyway. Where there
// is none the mail waits for the server. It never goes to a server whose filter refuses
// it, to the one that says default, or to one for the other purpose.
//
// The choice names every server that was not taken, with the reason, so that
// it can be explained.
package relay
