// SPDX-License-Identifier: Apache-2.0

// Package outbound provides the transports that come with mailcaddy: the ways
// in which an outgoing server gets its mail.
//
// [SMTP] hands it to a relay, [MX] to the mail hosts of each recipient's domain,
// [LMTP] to a local delivery agent, and [Capture] keeps it. SMTP and LMTP are
// one [NextHop] in two protocols; how it is spoken to is told in package
// smtprelay, which hosts MX finds in package mx. A transport of the house or of a third
// party is a Caddy module under mail.transports that implements
// [mailflow.Transport].
package outbound
