// SPDX-License-Identifier: Apache-2.0

// Package outbound provides the transports that come with mailcaddy: the ways
// in which an outgoing server gets its mail.
//
// [SMTP] hands it to a relay, [LMTP] to a local delivery agent, and [Capture]
// keeps it. SMTP and LMTP are one [NextHop] in two protocols; how it is spoken
// to is told in package smtprelay. A transport of the house or of a third
// party is a Caddy module under mail.transports that implements
// [mailflow.Transport].
package outbound
