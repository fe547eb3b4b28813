// SPDX-License-Identifier: Apache-2.0

// Package mailflowtest has what the test of a module needs: fakes of
// everything that stands around it, and suites that hold it to the contract of
// its interface. mailcaddy's own modules are tested with it, and those of
// third parties are no different: docs/custom-modules.md shows how.
//
// # Suites
//
// A suite is called in a test with a module that is ready for use. Each
// sentence of the contract is a subtest. Run them under the race detector:
//
//   - [RunHandlerSuite] for a [mailflow.Handler],
//   - [RunMatcherSuite] for a [mailflow.Matcher],
//   - [RunTransportSuite] for a [mailflow.Transport] whose next hop takes
//     everything,
//   - [RunStoreSuite] for a [mailflow.StoreOpener]; [StoreSuite] is the same
//     with options, for a store that keeps nothing when it is closed.
//
// There is none for a [mailflow.Listener], which is tested by speaking with it
// before a [Gate].
//
// # Fakes
//
// For handlers and matchers: [NewTransaction] makes a transaction about all
// recipients of [NewEnvelope] and, unless it is one at RCPT, about a message.
// [NewMessage] and [NewBody] make the parts of one. A [View] answers what the
// store would. The time of everything is [At].
//
//	tx := mailflowtest.NewTransaction(t, "Subject: Hello\n\nHello.\n",
//		mailflowtest.NewEnvelope("anna@example.com", "bob@example.org"))
//	err := handler.Handle(t.Context(), tx, mailflow.Done)
//	// tx.Verdicts, tx.HeaderChanges, tx.Tags and tx.Trace say what it did.
//
// For transports: [NewAttempt] makes an attempt, and its [Content] fails where
// the test wants it to. A [Relay] is an SMTP or LMTP server in the test's
// process, whose script makes it fail at any stage in any way.
//
// For listeners: a [Gate] records what is handed in, and answers as the test
// wants.
//
// For what stands above transports: a [Transport] keeps what it is given, and
// fails at any stage.
package mailflowtest
