// SPDX-License-Identifier: Apache-2.0

// Package mtasts finds the MTA-STS policies of domains (RFC 8461): which hosts
// take a domain's mail, and whether mail may go to another or in clear.
//
// A policy is announced by a TXT record, _mta-sts.DOMAIN, whose id changes with
// it, and told by HTTPS, https://mta-sts.DOMAIN/.well-known/mta-sts.txt, with a
// certificate that is valid for that name. Redirects are not followed, and no
// more than [maxPolicy] bytes are read.
//
// A policy that was found once holds for its max_age, even when its record or
// its server is gone later: that is what protects from those who would make
// them go. So the [Cache] is better one for the whole process than one for each
// configuration. It is bounded by [maxPolicies]; what ends first gives way.
//
// The record is asked for with each look-up, which the resolver's cache makes
// cheap. The policy is fetched when the id is a new one, and again when half of
// its time is over. A fetch that failed is not repeated for [retryAfter], unless
// the id changes.
// Meanwhile the policy that is known counts, or none: what never was found
// hinders no mail.
package mtasts
