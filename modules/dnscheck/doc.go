// SPDX-License-Identifier: Apache-2.0

// Package dnscheck looks names up in the DNS: mail.resolvers.* are the ways to
// do it. What is found is judged by others.
//
// [System] asks the name servers that the machine asks, [UDP] others by plain
// DNS, [DoT] others by TLS. How they are asked is told in package resolver.
// Whether an answer is proven by DNSSEC, so that it can carry DANE, depends on
// the way to the server that checked it: one on this machine, or one by TLS
// with `trust_ad`.
package dnscheck
