// SPDX-License-Identifier: Apache-2.0

// Package dnscheck looks names up in the DNS: mail.resolvers.* are the ways to
// do it. What is found is judged by others.
package dnscheck
