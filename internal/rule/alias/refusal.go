// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Codes of why an alias does not take a mail.
const (
	// CodeUnknown: the author is no contact.
	CodeUnknown = "refused_unknown_author"
	// CodeNotFollower: the author does not follow the thread that counts.
	CodeNotFollower = "refused_not_follower"
	// CodeNotEmployee: the author is no employee.
	CodeNotEmployee = "refused_not_employee"
	// CodeMisconfigured: the alias takes mail of followers, but there is no
	// thread whose followers count.
	CodeMisconfigured = "alias_misconfigured"
	// CodeCatchall: the mail is for the catchall address and answers nothing.
	CodeCatchall = "catchall_direct_write"
)

// FixExactContact is the code of the deliberate difference that addresses are
// compared whole.
const FixExactContact = "fix:exact_contact"

// Writer is who wrote a mail, as far as contact rules ask.
type Writer struct {
	// Address is the author's; null if unknown.
	Address mailflow.Address
	// Contacts are those with exactly that address, the oldest first.
	Contacts []mailflow.Contact
}

// Contact returns the writer's contact, or nil. Of several it is one of
// followers, else one who works with the application, else the oldest.
func (w *Writer) Contact(followers []mailflow.Follower) *mailflow.Contact {
	for i := range w.Contacts {
		if isFollower(&w.Contacts[i], followers) {
			return &w.Contacts[i]
		}
	}
	for i := range w.Contacts {
		if w.Contacts[i].User {
			return &w.Contacts[i]
		}
	}
	if len(w.Contacts) > 0 {
		return &w.Contacts[0]
	}
	return nil
}

// Follows reports whether the writer is one of followers.
func (w *Writer) Follows(followers []mailflow.Follower) bool {
	return slices.ContainsFunc(w.Contacts, func(c mailflow.Contact) bool { return isFollower(&c, followers) })
}

func isFollower(c *mailflow.Contact, followers []mailflow.Follower) bool {
	return slices.ContainsFunc(followers, func(f mailflow.Follower) bool { return f.Contact == c.ID })
}

// Refusal says why a does not take mail of w: one of the codes, or "" if it
// does. followers are those of thread, the one that counts: the thread that
// the mail answers, else the one that the alias always writes to, else its
// parent; "" if there is none.
func Refusal(a *mailflow.Alias, w Writer, thread string, followers []mailflow.Follower) string {
	switch a.Contact {
	case mailflow.ContactKnown:
		if len(w.Contacts) == 0 {
			return CodeUnknown
		}
	case mailflow.ContactFollowers:
		if thread == "" {
			return CodeMisconfigured
		}
		if !w.Follows(followers) {
			return CodeNotFollower
		}
	case mailflow.ContactEmployees:
		if !slices.ContainsFunc(w.Contacts, func(c mailflow.Contact) bool { return c.Employee }) {
			return CodeNotEmployee
		}
	case mailflow.ContactEveryone:
	}
	return ""
}

// MaxSaid bounds the text of an SMTP reply, in bytes: a reply line has 512
// octets with its codes (RFC 5321 section 4.5.3.1.5).
const MaxSaid = 400

// said are the short texts of the replies.
var said = map[string]string{
	CodeUnknown:       "This address takes mail only from people who are known here",
	CodeNotFollower:   "This address takes mail only from people who follow its conversation",
	CodeNotEmployee:   "This address takes mail only from people who work here",
	CodeMisconfigured: "This address is not set up to take mail",
	CodeCatchall:      "This address takes only answers, and the message answers nothing known here",
}

// Reply returns the answer to a mail that the address rcpt refuses for that
// code. custom is the text that the operator wrote for the alias; d is our
// domain that it belongs to, or nil.
func Reply(code string, rcpt mailflow.Address, custom string, d *mailflow.Domain) *mailflow.Reply {
	r := &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 7, 1}, Text: said[code], Help: custom}
	if custom = strings.Join(strings.Fields(custom), " "); custom != "" {
		if isReplyText(custom) {
			r.Text = custom
		}
		return r
	}
	r.Help = "Your message to " + rcpt.String() + " was not accepted. " + said[code] + "."
	if code == CodeCatchall {
		r.Help = "Your message to " + rcpt.String() + " was not accepted. The address collects the answers to messages " +
			"from us and has no other use, and yours answers none that we know."
	}
	if d != nil && !d.CompanyAddress.IsNull() && !d.CompanyAddress.Is(rcpt) {
		r.Help += "\n\nTo reach " + company(d) + ", please write to " + d.CompanyAddress.String() + "."
	}
	return r
}

// company returns what the owner of d is called.
func company(d *mailflow.Domain) string {
	if d.Company != "" {
		return d.Company
	}
	return "us"
}

// isReplyText reports whether s can stand in an SMTP reply.
func isReplyText(s string) bool {
	return len(s) <= MaxSaid && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0
}
