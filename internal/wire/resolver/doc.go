// SPDX-License-Identifier: Apache-2.0

// Package resolver looks names up by asking recursive name servers. It is a
// [mailflow.Resolver] with a cache.
//
// # Servers
//
// A [Server] is asked by UDP with EDNS (RFC 6891), and by TCP where its answer
// does not fit, or by TLS (RFC 7858) on connections that are kept for some
// seconds. The server that answered last is asked first; one that is silent,
// broken or unwilling passes the question on to the next, twice round at most.
// Each question has its own random port and number, and an answer to another
// question counts as none.
//
// # Answers
//
// An answer that there is no such record wraps [mailflow.ErrNotFound];
// everything else that is not an answer is temporary. Aliases are followed,
// [maxAliases] at most. Answers are kept for the time that they name, within
// bounds: those without records for the time of the SOA record (RFC 2308), not
// at all without one. Failures are not kept. The cache has [maxEntries] places
// and gives up what ends first. Many who ask for the same at once ask once.
//
// # Proof
//
// This package validates no signatures. It hands on that the server did, the
// AD bit (RFC 6840 section 5.8), if the server is a trusted one: one on this
// machine, or one behind TLS that the operator trusts. A trusted server that
// fails to answer is not got round by one that proves less.
package resolver
