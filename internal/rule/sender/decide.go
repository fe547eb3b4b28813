// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Mail is the mail that is to be sent.
type Mail struct {
	// Author is who it is from, see [ReadOr].
	Author Author
	// ReversePath is the one of its envelope.
	ReversePath mailflow.Address
	// ReturnPath is the Return-Path that the application set as a field; null
	// if it set none.
	ReturnPath mailflow.Address
	// ReplyTo is set when its Reply-To has an address, HasSender when it has a
	// Sender field.
	ReplyTo, HasSender bool
}

// ReadMail returns what [Decide] asks of a mail with that header and
// reverse-path.
func ReadMail(h mailflow.Header, reversePath mailflow.Address, b mailflow.Behavior) Mail {
	m := Mail{
		Author: ReadOr(h, reversePath, b), ReversePath: reversePath,
		ReplyTo: len(h.Addresses("Reply-To")) > 0, HasSender: h.Has("Sender"),
	}
	if paths := h.Addresses("Return-Path"); len(paths) > 0 {
		m.ReturnPath = paths[0]
	}
	return m
}

// Hop is the server that was chosen.
type Hop struct {
	// Step is how it was found.
	Step relay.Step
	// Filter is its from_filter.
	Filter relay.Filter
	// Envelope says what reverse-path it is given, Login the address that the
	// gateway logs in with, and NoNullSender that it refuses the null one.
	Envelope     mailflow.EnvelopeRule
	Login        mailflow.Address
	NoNullSender bool
}

// Sent is how the mail leaves.
type Sent struct {
	// From is the address in From.
	From mailflow.Address
	// ReversePath is the reverse-path, and PerRecipient is set when it is a
	// bounce address that names the delivery.
	ReversePath  mailflow.Address
	PerRecipient bool
	// Header are the changes to make.
	Header []mailflow.HeaderChange
	// Notes say what was done and why.
	Notes []Note
}

// Note is one thing that was done, for the trace.
type Note struct {
	// Code is one of the codes of this package.
	Code string
	// Text says it to a human.
	Text string
}

// The codes of notes.
const (
	CodeKept         = "from_kept"
	CodeEncapsulated = "from_encapsulated"
	CodeMissing      = "from_missing"
	CodeReduced      = "from_reduced"
	CodeRepaired     = "from_repaired"
	CodeReplyTo      = "reply_to_added"
	CodeSender       = "sender_removed"
	CodeEnvelope     = "envelope"

	// FixName says that a display name stays where Odoo takes it away.
	FixName = "fix:keep_name"
	// FixFrom says that a From without an address is never sent, as Odoo does
	// by servers where the default_from does not come in.
	FixFrom = "fix:from_address"
	// FixIDN says that the spellings of an international domain are one name,
	// where Odoo takes them for different ones.
	FixIDN = "fix:idn"
	// FixFilterSyntax says that "*" in a filter has a meaning, where Odoo takes
	// it for a name that nothing has.
	FixFilterSyntax = "fix:filter_syntax"
	// FixReturnPath says that the Return-Path field of the application is not
	// sent, as Odoo does.
	FixReturnPath = "fix:return_path"
)

// ErrNoFrom refuses a mail that nobody sends: it has no From with an
// address, and nobody can take the author's place.
var ErrNoFrom = &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 6, 0}, Text: "The message has no From address"}

// Decide says in whose name the mail leaves by that server. The error is
// [ErrNoFrom]; the notes are there then, too.
func Decide(m Mail, p *Policy, hop Hop) (Sent, error) {
	if hop.Step == relay.StepDefault && p.setsFilter {
		hop.Filter = p.keeps.Filter // empty if it keeps everybody
	}
	d := &deciding{mail: m, policy: p, hop: hop}
	if err := d.from(); err != nil {
		return d.sent, err
	}
	d.reversePath()
	return d.sent, nil
}

// deciding is one decision while it is made.
type deciding struct {
	mail   Mail
	policy *Policy
	hop    Hop
	sent   Sent
}

func (d *deciding) odoo() bool { return d.policy.Behavior == mailflow.BehaviorOdoo }

func (d *deciding) note(code, text string) {
	d.sent.Notes = append(d.sent.Notes, Note{Code: code, Text: text})
}

func (d *deciding) change(op mailflow.HeaderOp, name, value string) {
	d.sent.Header = append(d.sent.Header, mailflow.HeaderChange{Op: op, Name: name, Value: value})
}

// from decides about From and the fields that go with it.
func (d *deciding) from() error {
	author, standIn := &d.mail.Author, d.policy.DefaultFrom
	d.noteFixes()
	if author.Address.IsNull() {
		if standIn.IsNull() {
			return ErrNoFrom
		}
		d.sent.From = standIn
		d.note(CodeMissing, "no author; From becomes the default_from "+standIn.String())
		d.setFrom(author.Name)
		return nil
	}
	keep, why := d.keeps()
	if keep || standIn.IsNull() || standIn.Is(author.Address) {
		d.keep(keep, why)
		return nil
	}
	d.sent.From = standIn
	d.note(CodeEncapsulated, author.Address.String()+" becomes "+standIn.String()+": "+why)
	name := author.Name
	if name == "" {
		name = author.Address.Local
		if d.odoo() {
			name = lower(name)
		}
	}
	d.setFrom(name)
	d.accompany()
	return nil
}

// noteFixes says where the answer may differ deliberately from Odoo's.
func (d *deciding) noteFixes() {
	if !d.odoo() {
		return
	}
	author, policy := &d.mail.Author, d.policy
	for _, domain := range [...]string{author.Address.Domain, policy.DefaultFrom.Domain, policy.Bounce.Domain} {
		if strings.Contains(domain, "xn--") {
			d.note(FixIDN, "the spellings of "+domain+" are one name")
			break
		}
	}
	if author.Address.IsNull() && author.Text != "" {
		d.note(FixName, "the name of an author without an address stays whole")
		d.note(FixFrom, "no mail leaves with a From without an address")
	}
	if d.hop.Step == relay.StepDefault && policy.keeps.Any {
		d.note(FixFilterSyntax, "* in default_from_filter allows every sender")
	}
}

// keep leaves the author in From.
func (d *deciding) keep(keep bool, why string) {
	author := &d.mail.Author
	d.sent.From = author.Address
	if d.odoo() {
		d.sent.From.Local = lower(d.sent.From.Local)
	}
	switch {
	case keep:
		d.note(CodeKept, author.Address.String()+": "+why)
	case d.policy.DefaultFrom.IsNull():
		d.note(CodeKept, author.Address.String()+": the domain has no default_from, although "+why)
	default:
		d.note(CodeKept, author.Address.String()+" is the default_from")
		if d.odoo() && author.Name != "" {
			d.note(FixName, "the name of the default_from stays")
		}
	}
	switch {
	case author.Fields == 0:
		d.note(CodeMissing, "no From field; "+author.Address.String()+" takes its place")
		d.setFrom(author.Name)
	case author.Addresses != 1 || author.Fields != 1:
		d.note(CodeReduced, "From keeps the first of its addresses")
		d.setFrom(author.Name)
	case author.malformed:
		d.note(CodeRepaired, "From is written anew, since it is not well formed")
		d.setFrom(author.Name)
	case d.odoo() && (author.bare || author.spelled != lower(author.spelled)):
		d.setFrom(author.Name)
	}
}

// lower returns s in lower case as Odoo does: what is not ASCII stays.
func lower(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		return s
	}
	return strings.ToLower(s)
}

// setFrom makes From a single field with a single address, and keeps what it
// was.
func (d *deciding) setFrom(name string) {
	from := d.sent.From
	d.change(mailflow.HeaderSet, "From", Format(name, from))
	if author := &d.mail.Author; author.Text != "" && (!from.Is(author.Address) || author.Addresses > 1) {
		d.change(mailflow.HeaderSet, "X-Original-From", author.Text)
	}
}

// accompany changes the fields that go with an encapsulated From.
func (d *deciding) accompany() {
	if d.mail.HasSender {
		d.note(CodeSender, "Sender would name the author beside the default_from")
		d.change(mailflow.HeaderRemove, "Sender", "")
	}
	if d.mail.ReplyTo {
		return
	}
	to, text := d.mail.Author.Address, Format(d.mail.Author.Name, d.mail.Author.Address)
	if d.odoo() && !d.policy.Catchall.IsNull() {
		to, text = d.policy.Catchall, d.policy.Catchall.String()
	}
	d.note(CodeReplyTo, "answers go to "+to.String())
	d.change(mailflow.HeaderSet, "Reply-To", text)
}

// keeps reports whether the author may stay in From, and why.
func (d *deciding) keeps() (bool, string) {
	switch d.hop.Step {
	case relay.StepAddress, relay.StepDomain:
		return true, "the server's from_filter allows it"
	case relay.StepFromAddress, relay.StepFromDomain:
		return false, "the server's from_filter allows the default_from"
	case relay.StepPurpose:
		if d.odoo() {
			return true, "the purpose demands the server"
		}
		return d.filterKeeps()
	case relay.StepDefault:
		return d.filterKeeps()
	case relay.StepOpen, relay.StepLast, relay.StepNone:
	}
	if d.odoo() {
		return false, "no server's from_filter allows it"
	}
	return d.policyKeeps()
}

// filterKeeps asks the server's filter.
func (d *deciding) filterKeeps() (bool, string) {
	f := d.hop.Filter
	switch {
	case !f.IsEmpty() && f.Match(d.mail.Author.Address):
		return true, "the server's from_filter allows it"
	case !f.IsEmpty():
		return false, "the server's from_filter does not allow it"
	case d.odoo():
		return true, "the server has no from_filter"
	}
	return d.policyKeeps()
}

// policyKeeps asks the domain's default_from_filter.
func (d *deciding) policyKeeps() (bool, string) {
	if d.policy.Keeps(d.mail.Author.Address) {
		return true, "default_from_filter allows it"
	}
	return false, "default_from_filter does not allow it"
}
