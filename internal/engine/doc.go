// SPDX-License-Identifier: Apache-2.0

// Package engine is what lives as long as the process: sockets, sessions, the
// open store, the queue runner. It knows no JSON and no Caddyfile.
//
// # Generations
//
// Each configuration that is loaded becomes a [Generation]: an immutable value
// of routes, servers, listeners and policies. [Engine.Prepare] opens what it
// needs and does not have yet, and undoes that if it fails; [Engine.Activate]
// switches to it in one step; [Generation.Retire] takes it away. Live
// generations stand on a stack: when the newest is retired because another
// part of its load failed, the one below serves on.
//
// A transaction pins its generation at MAIL and keeps it to its end; the next
// transaction on the same connection takes the newest. An attempt to deliver
// pins the generation whose transport it uses. A generation that is retired
// and no longer pinned closes its transports and lets go of its store.
//
// # Doors
//
// A socket is bound once and kept while any generation uses it, since a socket
// that is closed and opened again resets the connections in its backlog. Its
// accept loop hands each connection to the newest generation's listener.
//
// # The way in
//
// [mailflow.Intake.Commit] spools the content, runs the routes, commits the
// decision and only then returns. A decision whose facts no longer hold at
// commit is made again, the third time inside the store's writer. A handler
// that panics has the message held, so that a poisoned message neither blocks
// the others nor is lost.
//
// # The way out
//
// The runner keeps the mail of one destination apart by purpose, and each
// purpose has workers of its own. Within a purpose there are lanes, by our
// domain and by sender: workers mostly take the oldest mail, and each fourth
// time that of the lane that waited longest, so that nobody's backlog delays
// anybody else. A lane has the messages that were just committed in memory, and
// claims the rest from the store in small portions.
//
// A destination that cannot be reached is down: its mail waits untouched, one
// delivery after the other probes it, and when one gets through all of it
// drains at once. So is an outgoing server that refuses everything for a while.
// New mail is decided with that in sight; what waits for a server is decided
// again once, when its first probe fails. A server that nothing waits for is
// tried by one new mail in each pause.
//
// # Limits
//
// Limits make mail wait and never fail. A lane claims no more deliveries than
// there is room for: the recipients that are claimed or under way count as
// well as those that were handed over, and are given back if they were not. A
// lane that finds no room waits for the gauge of that limit, which has one
// timer for all of them, and meanwhile nobody asks the store for anything. What
// was handed over is kept with the outcome of its attempt, by the second, and
// read back when the store opens; it is not counted while there is no limit. A
// message with more recipients than there is room for leaves in parts, as many
// at a time as may.
//
// # Signatures
//
// Each attempt is signed anew, by the signer that the configuration has then,
// over the bytes that it sends. What cannot be signed is held.
package engine
