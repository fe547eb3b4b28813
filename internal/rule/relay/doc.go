// SPDX-License-Identifier: Apache-2.0

// Package relay decides by which outgoing server a mail leaves.
//
// The decision rests on the author's address (the From field) and on what each
// server says in its from_filter, a [Filter]. [Choose] goes through steps and
// takes the first one that finds a server:
//
//  1. the author's address stands in the filter ([StepAddress])
//  2. the author's domain stands in the filter ([StepDomain])
//  3. the server has no filter ([StepOpen])
//  4. whatever its filter says: mail that is accepted has to leave
//     ([StepLast])
//
// Within a step the lower priority goes first, then the name. The server that
// says default takes no part in this; it is used only when there is no other
// server at all ([StepDefault]). Without any server nothing is sent
// ([StepNone]).
//
// The choice names every server that was not taken, with the reason, so that
// it can be explained.
package relay
