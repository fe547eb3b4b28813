// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/auto"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// receiver is what the handlers have in common that find the thread of a mail.
type receiver struct {
	behavior mailflow.Behavior
	domains  mailflow.Domains
	book     *alias.Book
}

// UseServices implements mailflow.ServicesUser.
func (r *receiver) UseServices(s *mailflow.Services) (err error) {
	r.behavior, r.domains = s.Behavior, s.Domains
	r.book, err = alias.NewBook(s)
	return err
}

// OnlyIn implements mailroute.RouteBound.
func (*receiver) OnlyIn() mailflow.RouteName { return mailflow.Inbound }

func (r *receiver) odoo() bool { return r.behavior == mailflow.BehaviorOdoo }

// aliases returns the aliases that the address means, the closest first.
func (r *receiver) aliases(ctx context.Context, tx *mailflow.Transaction, a mailflow.Address) ([]mailflow.Alias, error) {
	stored, err := tx.View.Aliases(ctx, r.book.Candidates(a))
	if err != nil {
		return nil, fmt.Errorf("looking for the alias %s: %w", a, err)
	}
	return r.book.Match(a, stored), nil
}

// writer returns who wrote the mail. One of our own addresses is nobody's: a
// contact who had it would follow threads, and get what he is told again.
func (r *receiver) writer(ctx context.Context, tx *mailflow.Transaction) (alias.Writer, error) {
	w := alias.Writer{Address: authorOf(tx, r.behavior).Address}
	if w.Address.IsNull() || r.domains.Ours(w.Address) {
		return w, nil
	}
	if r.domains.Find(w.Address.Domain) != nil {
		as, err := r.aliases(ctx, tx, w.Address)
		if err != nil {
			return w, err
		}
		if slices.ContainsFunc(as, func(a mailflow.Alias) bool { return a.Address.Is(w.Address) }) {
			return w, nil
		}
	}
	var err error
	if w.Contacts, err = tx.View.Contacts(ctx, w.Address); err != nil {
		return w, fmt.Errorf("looking for the author: %w", err)
	}
	return w, nil
}

// followers returns those of a thread; of none there are none.
func followers(ctx context.Context, tx *mailflow.Transaction, thread string) ([]mailflow.Follower, error) {
	if thread == "" {
		return nil, nil
	}
	fs, err := tx.View.Followers(ctx, thread)
	if err != nil {
		return nil, fmt.Errorf("looking for the followers of %s: %w", thread, err)
	}
	return fs, nil
}

// threadOf returns the thread of that ID; nil if there is none.
func threadOf(ctx context.Context, tx *mailflow.Transaction, id string) (*mailflow.Thread, error) {
	t, err := tx.View.Thread(ctx, id)
	if errors.Is(err, mailflow.ErrNoRecord) {
		return nil, nil //nolint:nilnil // no thread is no error here
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the thread %s: %w", id, err)
	}
	return t, nil
}

// by returns the ID of the contact who wrote the mail; "" if he is none.
func by(w *alias.Writer, fs []mailflow.Follower) string {
	if c := w.Contact(fs); c != nil {
		return c.ID
	}
	return ""
}

// isCatchall reports whether a is a catchall address of ours, a former one
// too, and the domain that it is of. Odoo knows nothing of what stands behind
// a "+".
func (r *receiver) isCatchall(a mailflow.Address) (*mailflow.Domain, bool) {
	if local, _, ok := strings.Cut(a.Local, "+"); ok && local != "" && !r.odoo() {
		a.Local = local
	}
	for i := range r.domains {
		if slices.ContainsFunc(r.domains[i].Catchall, a.Is) {
			return &r.domains[i], true
		}
	}
	return nil, false
}

// direct returns the addresses that the mail is written to. A mail that does
// not say is written to those of its envelope.
func direct(tx *mailflow.Transaction) []mailflow.Address {
	if as := alias.Direct(tx.Message.Header); len(as) > 0 {
		return as
	}
	return envelopeAddresses(tx)
}

func envelopeAddresses(tx *mailflow.Transaction) []mailflow.Address {
	as := make([]mailflow.Address, len(tx.Envelope.Recipients))
	for i, r := range tx.Envelope.Recipients {
		as[i] = r.Address
	}
	return as
}

// onlyCatchall reports whether all addresses that the mail is written to are
// catchall addresses, and whether some are.
func (r *receiver) onlyCatchall(tx *mailflow.Transaction) (all, some bool) {
	as := direct(tx)
	all = len(as) > 0
	for _, a := range as {
		_, is := r.isCatchall(a)
		all, some = all && is, some || is
	}
	return all, some
}

// posted returns what a recipient was claimed for that is in a thread now.
func posted(tx *mailflow.Transaction) (mailflow.PostTo, bool) {
	for _, v := range tx.Verdicts() {
		if a, ok := v.Action.(mailflow.PostTo); ok {
			return a, true
		}
	}
	return mailflow.PostTo{}, false
}

// belongs makes the mail one of the domain that its thread or alias is of, if
// that is ours and no other recipient has decided it.
func (r *receiver) belongs(tx *mailflow.Transaction, domain string) {
	if _, ok := posted(tx); !ok && r.domains.Find(domain) != nil {
		tx.Domain = domain
	}
}

// codeWithOthers is the code of the trace for a recipient that is no other
// one than those that are in a thread.
const codeWithOthers = "with_others"

// besides claims the catchall addresses for the thread that another recipient
// is in by now: nothing of their own becomes of them. A handler sees the
// claims of others only while it decides about both.
func (r *receiver) besides(tx *mailflow.Transaction) error {
	a, ok := posted(tx)
	if !ok {
		return nil
	}
	for _, rcpt := range tx.Pending() {
		if _, is := r.isCatchall(rcpt.Address); !is {
			continue
		}
		tx.Trace.Note(codeWithOthers, rcpt.Address.String()+" has the mail in the thread of another recipient")
		if err := tx.Claim(rcpt.Address, a); err != nil {
			return err
		}
	}
	return nil
}

// The codes of the trace for mail that machines send, and the tag that it gets.
const (
	codeAutomatic = "automatic"
	tagAutomatic  = "automatic"
)

// answering returns the kind of a mail that answers without a person. Odoo
// makes no difference.
func (r *receiver) answering(tx *mailflow.Transaction) (kind auto.Kind, why string) {
	if r.odoo() {
		return auto.Human, ""
	}
	if kind, why = auto.Of(tx.Message.Header); kind.Answers() {
		return kind, why
	}
	return auto.Human, ""
}

// setAside puts mail that answers without a person where an operator sees it,
// and reports whether it is such mail: it opens nothing and is never refused.
func (r *receiver) setAside(tx *mailflow.Transaction, rcpt mailflow.Address) (aside bool, err error) {
	kind, why := r.answering(tx)
	if kind == auto.Human {
		return false, nil
	}
	tx.Trace.Won(codeAutomatic, why)
	tx.Tag(tagAutomatic, string(kind))
	return true, tx.Claim(rcpt, mailflow.Unroute{Reason: "automatic mail that answers no thread: " + why})
}

// refuse refuses rcpt for one of the codes of package alias.
func refuse(tx *mailflow.Transaction, rcpt mailflow.Address, code string, reply *mailflow.Reply) error {
	tx.Trace.Won(code, rcpt.String()+": "+reply.Text)
	return tx.Refuse(rcpt, reply)
}

// The codes of deliberate differences in reading the header.
const (
	// fixSubject: of several Subject fields the first one counts.
	fixSubject = "fix:one_subject"
	// fixHeaderLine: a line that is no field does not end the header.
	fixHeaderLine = "fix:header_line"
)

// noteHeader notes where Odoo would have read another header.
func (r *receiver) noteHeader(tx *mailflow.Transaction) {
	if !r.odoo() {
		return
	}
	h := tx.Message.Header
	if len(h.Values("Subject")) > 1 {
		tx.Trace.Note(fixSubject, "of several Subject fields the first one counts")
	}
	rest := h.Size() - len("\r\n")
	for _, f := range h.Fields() {
		rest -= len(f.Raw)
	}
	if rest > 0 {
		tx.Trace.Note(fixHeaderLine, "a line that is no field does not end the header")
	}
}
