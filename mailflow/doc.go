// SPDX-License-Identifier: Apache-2.0

// Package mailflow holds the words and contracts in which every part of
// mailcaddy meets: the modules that come with it and those of third parties.
// It is pure: it knows no Caddy, does no I/O and reads no clock.
//
// # The way of a mail
//
// Decide, then commit, then acknowledge, then deliver.
//
// A [Listener] or [Fetcher] hands an [Envelope] and the bytes of a [Message]
// to the engine. The engine makes a [Transaction] of them and runs the
// handlers of a [Route] over it. A [Handler] decides: it claims recipients for
// an [Action] or refuses them with a [Reply], and writes into the [Trace] why.
// It changes nothing else. What was decided becomes a [Decision], which the
// [Store] commits in one transaction together with the bytes; a decision that
// rests on state names it as [Fact]s, and the commit checks them. Only then is
// the sender answered. What has to leave the house is a [Delivery] in the
// queue, which a [Transport] attempts until it is in a final state.
//
// # What a module implements
//
// A handler implements [Handler], and [RcptHandler] if it can tell at RCPT
// whether it may claim an address. A condition implements [Matcher]. A way to
// send implements [Transport], and [Tester] if it can be tried without sending.
// A store implements [StoreOpener] and [Store]. A module that needs to know
// the configured domains or servers implements [ServicesUser].
//
// Package mailflowtest has fakes for all of them, and suites that handlers,
// matchers, transports and stores must pass.
package mailflow
