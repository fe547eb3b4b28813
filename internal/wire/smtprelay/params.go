// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits on what is handed on of the DSN parameters (RFC 3461 sections 4.2 and
// 4.4). A longer one would make the server refuse the command, so it is left
// out.
const (
	maxEnvelopeID = 100
	maxOriginal   = 500
)

// errNeedsTLS is the answer of RFC 8689 section 5 where TLS cannot be kept up.
var errNeedsTLS = &mailflow.Reply{
	Code: 550, Enhanced: mailflow.EnhancedCode{5, 7, 30}, Text: "REQUIRETLS support required",
}

// errNeedsUTF8 is the answer of RFC 6531 section 3.5 where SMTPUTF8 is needed.
var errNeedsUTF8 = &mailflow.Reply{
	Code: 553, Enhanced: mailflow.EnhancedCode{5, 6, 7}, Text: "Internationalized mail not supported by the next server",
}

// errBadSender and errBadRecipient answer addresses that cannot stand in
// a command.
var (
	errBadSender = &mailflow.Reply{
		Code: 553, Enhanced: mailflow.EnhancedCode{5, 1, 7}, Text: "Sender address cannot be written in SMTP",
	}
	errBadRecipient = &mailflow.Reply{
		Code: 553, Enhanced: mailflow.EnhancedCode{5, 1, 3}, Text: "Recipient address cannot be written in SMTP",
	}
)

// utf8Needed reports whether the message as a whole needs SMTPUTF8, whoever it
// goes to. Bytes outside ASCII in a header need it only if the sender said so:
// older applications write them without, and every server passes them on.
func utf8Needed(a *mailflow.Attempt) bool {
	env := &a.Delivery.Envelope
	return !env.From.IsASCII() || env.SMTPUTF8 && a.Content.UTF8Header()
}

// check returns the reply that the message earns before anything is sent, or
// nil.
func (c *Conn) check(a *mailflow.Attempt) *mailflow.Reply {
	env := &a.Delivery.Envelope
	switch {
	case env.RequireTLS && (!c.verified || !c.ext.RequireTLS):
		return errNeedsTLS
	case !speakable(env.From):
		return errBadSender
	case utf8Needed(a) && !c.ext.SMTPUTF8:
		return errNeedsUTF8
	case c.ext.Size > 0 && a.Content.Size() > c.ext.Size:
		return mailflow.ReplyTooBig.Because(fmt.Errorf("%d bytes, the server takes %d", a.Content.Size(), c.ext.Size))
	}
	return nil
}

// checkRecipient returns the reply that a recipient earns before it is sent,
// or nil.
func (c *Conn) checkRecipient(r mailflow.Recipient) *mailflow.Reply {
	switch {
	case r.Address.IsNull() || !speakable(r.Address):
		return errBadRecipient
	case !r.Address.IsASCII() && !c.ext.SMTPUTF8:
		return errNeedsUTF8
	}
	return nil
}

// speakable reports whether a can be written in a command: it brings no line
// end and no end of the path with it.
func speakable(a mailflow.Address) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }
	return strings.IndexFunc(a.Local, control) < 0 && utf8.ValidString(a.Local) &&
		strings.IndexFunc(a.Domain, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>@", r) }) < 0
}

// mailCommand returns MAIL for part of the recipients.
func (t *transaction) mailCommand(part []int) string {
	c, a, env := t.c, t.a, &t.a.Delivery.Envelope
	beyondASCII := func(i int) bool { return !env.Recipients[i].Address.IsASCII() }
	var b strings.Builder
	b.WriteString("MAIL FROM:" + env.From.Path())
	if c.ext.HasSize {
		fmt.Fprintf(&b, " SIZE=%d", a.Content.Size())
	}
	if c.ext.EightBitMIME && (a.Content.EightBit() || a.Content.UTF8Header()) {
		b.WriteString(" BODY=8BITMIME")
	}
	if utf8Needed(a) || slices.ContainsFunc(part, beyondASCII) {
		b.WriteString(" SMTPUTF8")
	}
	if env.RequireTLS {
		b.WriteString(" REQUIRETLS")
	}
	if !c.ext.DSN {
		return b.String()
	}
	if env.Return == mailflow.ReturnFull || env.Return == mailflow.ReturnHeaders {
		b.WriteString(" RET=" + string(env.Return))
	}
	if id := env.EnvelopeID; id != "" && len(id) <= maxEnvelopeID {
		b.WriteString(" ENVID=" + xtext(id))
	}
	return b.String()
}

// rcptCommand returns RCPT for r.
func (c *Conn) rcptCommand(r mailflow.Recipient) string {
	cmd := "RCPT TO:" + r.Address.Path()
	if !c.ext.DSN {
		return cmd
	}
	if notify := notifyValue(r.Notify); notify != "" {
		cmd += " NOTIFY=" + notify
	}
	if r.Original != "" && len(r.Original) <= maxOriginal && r.OriginalType != "" && checkAtom(r.OriginalType) {
		original := xtext(r.Original)
		if strings.EqualFold(r.OriginalType, "utf-8") {
			original = utf8xtext(r.Original)
		}
		if len(original) <= maxOriginal {
			cmd += " ORCPT=" + r.OriginalType + ";" + original
		}
	}
	return cmd
}

// notifyValue joins the known values of NOTIFY; NEVER stands alone.
func notifyValue(values []mailflow.Notify) string {
	var words []string
	for _, n := range values {
		switch n {
		case mailflow.NotifyNever:
			return string(n)
		case mailflow.NotifySuccess, mailflow.NotifyFailure, mailflow.NotifyDelay:
			words = append(words, string(n))
		}
	}
	return strings.Join(words, ",")
}

// checkAtom reports whether s is an address type: letters, digits and "-".
func checkAtom(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	}) < 0
}
