// SPDX-License-Identifier: Apache-2.0

// Package mx decides to which hosts the mail for a domain goes, in which order,
// and how each connection has to be protected.
//
// # Hosts
//
// The hosts of a domain are those of its MX records, the lowest preference
// first and at random among equals (RFC 5321 section 5.1). A domain without MX
// records is its own host. [Order] knows the exceptions:
//
//   - a null MX says that the domain takes no mail (RFC 7505): 556 5.1.10;
//   - a host that is this gateway ends the list: what stands behind it, or as
//     high, would only hand the mail back. With nothing before it the mail
//     would loop: 554 5.4.6;
//   - no more than [MaxHosts] hosts and [MaxAddresses] addresses of each are
//     tried in one attempt, so that a domain with hundreds of dead ones does
//     not hold a worker for hours. Later attempts draw others among equals.
//
// A domain that does not exist gets 550 5.1.2, one whose hosts do not exist
// 550 5.4.4. What cannot be known at the moment is neither.
//
// # Protection
//
// [Decide] finds the [Level] of protection that a host must have. The first of
// these that says something decides:
//
//  1. DANE (RFC 7672). Where the names of the host and its TLSA records are
//     proven by DNSSEC, the certificate must agree with one of them
//     ([LevelDANE], [VerifyDANE]).
//  2. MTA-STS (RFC 8461). Where the domain's policy says enforce, the host must
//     stand in it, and its certificate must be valid for its name
//     ([LevelVerified]). A policy in testing changes nothing, and what it would
//     have refused is noted.
//  3. TLSA records of kinds that SMTP does not use: the host speaks TLS, and
//     nothing is known of its certificate ([LevelEncrypted]).
//  4. Else TLS is used when it is offered, with any certificate, and mail goes
//     in clear when it is not, or when it fails ([LevelOpportunistic], RFC 7435):
//     that protects from those who only listen, and never hinders mail.
//
// A message with REQUIRETLS (RFC 8689) needs more than the last two: the name
// of the host must be proven, by DNSSEC, by the MTA-STS policy, or because it
// is the domain itself, and the certificate must be valid for it.
//
// A policy that a host does not meet makes it no host of this attempt. When
// none is left the mail waits, since the policy, or the attack that it found,
// may pass; REQUIRETLS fails it with 550 5.7.30.
package mx
