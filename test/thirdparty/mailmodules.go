// SPDX-License-Identifier: Apache-2.0

// Package mailmodules plugs the mail modules of ACME into Caddy. It is what
// `xcaddy build --with example.com/acme/mailmodules` names:
//
//   - mail.handlers.ticket marks mail that is about a ticket ([Ticket]),
//   - mail.matchers.business_hours holds while somebody is in ([BusinessHours]),
//   - mail.transports.maildir delivers into a Maildir ([Maildir]),
//   - mail.stores.journal keeps mail in plain files (package journal).
//
// All of it is written with package mailflow and Caddy alone, and held to the
// contracts by the suites of package mailflowtest.
package mailmodules

import (
	_ "example.com/acme/mailmodules/journal"
)
