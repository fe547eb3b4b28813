// SPDX-License-Identifier: Apache-2.0

// Package sender decides in whose name a mail leaves.
//
// [Read] finds the author in a header as it comes: with several From fields or
// addresses, groups, names in any charset, or nothing that can be read.
// [Decide] then says what the From field is when the mail is sent. A sender
// that the chosen server may not send for is encapsulated: the address becomes
// the domain's default_from, the name stays.
//
//	"Admin" <admin@example.com>  becomes  "Admin" <notifications@mycompany.com>
//	mary@customer.example        becomes  "mary" <notifications@mycompany.com>
//
// Where From changes, X-Original-From keeps what it was, Sender is taken away,
// since it would name the author again, and Reply-To is added where it is
// missing.
//
// # Who is kept and who is encapsulated
//
//	the server was found by           documented            odoo
//	the author's address or domain    kept                  kept
//	default_from's                    encapsulated          encapsulated
//	having no filter; the last one    default_from_filter   encapsulated
//	its purpose                       its filter            kept
//	being the default                 its filter            its filter
//
// "Its filter" keeps whom the server's filter allows; a server without one
// goes by default_from_filter (documented), or allows everybody (odoo). A
// domain that has no default_from keeps everybody. default_from_filter allows
// all our own domains unless it says otherwise; it is the filter of the server
// that says default.
//
// # The reverse-path
//
// The documentation wants the bounce address of the message's domain, and a
// domain's bounce address names the delivery where it may. Odoo takes the
// Return-Path that the application set, or the bounce address, or the author,
// if the server's filter allows that address, and the final From otherwise. A
// server that insists gets its login or the final From. The null reverse-path
// of a report stays, unless the server refuses it.
//
// [May] says who may send as whom at all.
//
// Odoo 17.0 lower-cases the address in From and takes the name away from a
// From that is its default_from; here the first is done in the odoo behavior,
// the second never.
package sender
