// SPDX-License-Identifier: Apache-2.0

package sender

import "github.com/mailcaddy/mailcaddy/mailflow"

// reversePath decides about the reverse-path, when From is known.
func (d *deciding) reversePath() {
	path, why := d.chooseReversePath()
	d.sent.ReversePath = path
	d.note(CodeEnvelope, path.Path()+": "+why)
	if d.odoo() && !d.mail.ReturnPath.IsNull() {
		d.note(FixReturnPath, "the Return-Path field is not sent")
	}
}

// chooseReversePath returns the reverse-path and the reason. It sets
// PerRecipient.
func (d *deciding) chooseReversePath() (mailflow.Address, string) {
	bounce := d.policy.Bounce
	if d.mail.ReversePath.IsNull() {
		switch {
		case !d.hop.NoNullSender:
			return mailflow.Address{}, "a report has no sender to report to"
		case !bounce.IsNull():
			return bounce, "the server refuses the null sender"
		}
		return d.sent.From, "the server refuses the null sender, and there is no bounce address"
	}
	switch d.hop.Envelope {
	case mailflow.EnvelopeLogin:
		if !d.hop.Login.IsNull() {
			return d.hop.Login, "the server wants the address of its login"
		}
		return d.sent.From, "the server wants the address of its login, which is none; From stands in"
	case mailflow.EnvelopeFrom:
		return d.sent.From, "the server wants the address in From"
	case mailflow.EnvelopeBounce:
	}
	if d.odoo() {
		return d.odooReversePath()
	}
	if bounce.IsNull() {
		return d.mail.ReversePath, "there is no bounce address"
	}
	d.sent.PerRecipient = d.policy.Subaddress
	return bounce, "the bounce address of the domain"
}

// odooReversePath returns the bounce address if the server's filter allows it,
// else the final From.
func (d *deciding) odooReversePath() (mailflow.Address, string) {
	bounce, what := d.mail.Author.Address, "the author, for want of a bounce address,"
	switch {
	case !d.mail.ReturnPath.IsNull():
		bounce, what = d.mail.ReturnPath, "the Return-Path of the application"
	case !d.policy.Bounce.IsNull():
		bounce, what = d.policy.Bounce, "the bounce address of the domain"
	default:
		bounce.Local = lower(bounce.Local)
	}
	if !bounce.IsNull() && (d.hop.Filter.IsEmpty() || d.hop.Filter.Match(bounce)) {
		return bounce, what + ", which the server's from_filter allows"
	}
	return d.sent.From, "From, since the server's from_filter does not allow " + bounce.String()
}
