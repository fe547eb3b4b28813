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
// The runner keeps one lane for each destination. A lane has a number of
// workers, the messages that were just committed in memory, and claims the
// rest from the store in small portions. A destination that cannot be reached
// is down: its mail waits untouched, one delivery after the other probes it,
// and when one gets through the whole lane drains at once.
package engine
