// SPDX-License-Identifier: Apache-2.0

package smtpguard

import "github.com/mailcaddy/mailcaddy/mailflow"

// counts are what a peer has done since its last accepted mail; failed logins
// count for the whole connection.
type counts struct {
	errors, refused, surplus, idle, auth int
}

// reply says r, unless it is the one error too many: then it says that.
func (c *conn) reply(r *mailflow.Reply) {
	if c.tooMany(r) {
		c.server.options.Report(Incident{Kind: TooManyErrors, IP: c.client.IP})
		r = errTooManyErrors
	}
	c.emit(r)
}

// tooMany counts r and reports whether the peer has done enough.
func (c *conn) tooMany(r *mailflow.Reply) bool {
	n := &c.counts
	switch {
	case r.Code == 421:
	case c.state.verb == "RCPT" && r.Permanent():
		n.refused++
	case c.state.verb == "RCPT" && r.Temporary():
		n.surplus++
	case r.Permanent():
		n.errors++
	}
	return n.errors >= MaxErrors || n.refused >= MaxRefusedRecipients || n.surplus >= MaxSurplusRecipients
}

// accepted forgets what was counted: a mail was accepted.
func (n *counts) accepted() { *n = counts{auth: n.auth} }
