// SPDX-License-Identifier: Apache-2.0

// Package alias decides what an address of ours opens, and for whom.
//
// A [Book] knows the aliases of the configuration and which further domains
// their local parts are valid in; those of the store come from outside, see
// [Book.Candidates]. [Book.Match] says which aliases an address means:
//
//   - documented: the alias with that full address; else the local part in
//     one of the allowed_domains of the alias's own domain, where "*" is every
//     domain; else an alias with any_domain that has the local part.
//   - odoo: every alias with that full address, and every one with any_domain
//     that has the local part, if the domain passes allowed_domains.
//
// [Refusal] says whether an alias takes a mail, by its contact rule. Addresses
// are compared whole and normalised, never by parts: Odoo lets `%@company` and
// the tail of an employee's address pass (fix exact_contact).
//
// [Addressed] reads from its header whom a mail without an envelope is for.
package alias
