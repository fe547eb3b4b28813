// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Aliases)) }

// Aliases opens a thread for mail to an alias, or posts it to the thread that
// the alias always writes to. Whom the contact rule of the alias does not let
// in is refused, with the text that the operator wrote. A mail to several
// aliases opens a thread for each.
//
// A vacation notice or a read receipt opens nothing unless the alias says
// accept_automatic: it goes to the unrouted box.
type Aliases struct{ receiver }

// CaddyModule returns the Caddy module information.
func (*Aliases) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.aliases", New: func() caddy.Module { return new(Aliases) }}
}

// The codes of the trace, beside those of package alias.
const (
	codeAlias       = "alias"
	codeAliasThread = "alias_thread"
	codeThreadGone  = "thread_gone"
	codeOwner       = "owner_unknown"
	// fixFlatParent is the code of the deliberate difference that a mail has
	// no parent that it does not name; Odoo gives it the thread's first post.
	fixFlatParent = "fix:flat_parent"
)

// Handle implements mailflow.Handler.
func (h *Aliases) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Message == nil || len(tx.Pending()) == 0 {
		return next(ctx, tx)
	}
	if all, _ := h.onlyCatchall(tx); all && h.odoo() {
		tx.Trace.Note(alias.CodeCatchall, "all that it is written to are catchall addresses")
		return next(ctx, tx)
	}
	w, err := h.writer(ctx, tx)
	if err != nil {
		return err
	}
	var met *mailflow.Reply
	found := false
	for _, r := range tx.Pending() {
		is, refused, err := h.openAll(ctx, tx, r, w)
		if err != nil {
			return err
		}
		found = found || is
		if refused != nil {
			met = refused
		}
	}
	switch {
	case found && h.odoo():
		h.others(tx, met)
	case found:
		if err := h.besides(tx); err != nil {
			return err
		}
	}
	return next(ctx, tx)
}

// openAll decides about the recipient by all the aliases that it means, and
// reports whether it means any. Odoo opens a thread for each; otherwise there
// is one.
func (h *Aliases) openAll(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient, w alias.Writer) (is bool, refused *mailflow.Reply, err error) {
	as, err := h.aliases(ctx, tx, rcpt.Address)
	if err != nil {
		return false, nil, err
	}
	for i := range as {
		if i > 0 {
			if rcpt.Address = as[i].Address; !tx.AddRecipient(rcpt) {
				continue
			}
		}
		reply, err := h.open(ctx, tx, rcpt.Address, &as[i], w)
		if err != nil {
			return false, nil, err
		}
		if reply != nil {
			refused = reply
		}
	}
	return len(as) > 0, refused, nil
}

// others decides as Odoo about recipients that are no alias beside some that
// are: nothing of their own becomes of them.
func (*Aliases) others(tx *mailflow.Transaction, refused *mailflow.Reply) {
	if len(tx.Pending()) == 0 {
		return
	}
	if a, ok := posted(tx); ok {
		tx.Trace.Note(codeWithOthers, "what is written to no alias is in the thread that the others open")
		tx.ClaimAll(a)
	} else if refused != nil {
		tx.RefuseAll(refused)
	}
}

// open claims rcpt for a thread by the alias a, or refuses it.
func (h *Aliases) open(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Address, a *mailflow.Alias, w alias.Writer) (*mailflow.Reply, error) {
	if !a.AcceptAutomatic {
		if aside, err := h.setAside(tx, rcpt); aside {
			return nil, err
		}
	}
	h.belongs(tx, a.Address.Domain)
	counts := a.Thread
	if counts == "" {
		counts = a.Parent
	}
	fs, err := followers(ctx, tx, counts)
	if err != nil {
		return nil, err
	}
	switch code := alias.Refusal(a, w, counts, fs); {
	case code == alias.CodeMisconfigured && !h.odoo():
		tx.Trace.Won(code, a.Address.String()+" takes mail of followers, and names no thread")
		return nil, tx.Claim(rcpt, mailflow.Unroute{Reason: "the alias takes mail of followers, and names no thread"})
	case code != "":
		if code == alias.CodeNotEmployee {
			tx.Trace.Note(alias.FixExactContact, "employees are known by their whole addresses")
		}
		reply := alias.Reply(code, rcpt, a.Refuse, h.domains.Find(a.Address.Domain))
		return reply, refuse(tx, rcpt, code, reply)
	}
	return nil, h.post(ctx, tx, rcpt, a, by(&w, fs))
}

// post claims rcpt for the thread of the alias.
func (h *Aliases) post(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Address, a *mailflow.Alias, author string) error {
	facts := aliasFacts(a)
	action := mailflow.PostTo{Alias: a.Address, Author: author, Follow: author, Kind: mailflow.PostComment}
	if a.Thread != "" {
		t, err := threadOf(ctx, tx, a.Thread)
		if err != nil {
			return err
		}
		if t != nil && t.State != mailflow.ThreadGone {
			tx.Trace.Won(codeAliasThread, a.Address.String()+" always writes to "+t.ID)
			if h.odoo() {
				tx.Trace.Note(fixFlatParent, "it quotes nothing, so that it answers no message of the thread")
			}
			action.Thread = t.ID
			return tx.Claim(rcpt, action, append(facts, threadFact(t.ID))...)
		}
		tx.Trace.Note(codeThreadGone, "the thread "+a.Thread+", which the alias writes to, is gone")
		if a.Model == "" {
			return tx.Claim(rcpt, mailflow.Unroute{Reason: "the thread that the alias writes to is gone"}, facts...)
		}
	}
	action.Open = alias.Open(a, tx.Message.Header)
	if err := h.responsible(ctx, tx, action.Open, a); err != nil {
		return err
	}
	tx.Trace.Won(codeAlias, a.Address.String()+" opens a thread of "+a.Model)
	return tx.Claim(rcpt, action, facts...)
}

// responsible sets who looks after a new thread.
func (*Aliases) responsible(ctx context.Context, tx *mailflow.Transaction, t *mailflow.Thread, a *mailflow.Alias) error {
	if a.Owner == "" {
		return nil
	}
	owner, err := mailflow.ParseAddress(a.Owner)
	if err == nil && !owner.IsNull() {
		known, err := tx.View.Contacts(ctx, owner)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			t.Responsible = known[0].ID
			return nil
		}
	}
	tx.Trace.Note(codeOwner, a.Owner+", the owner of "+a.Address.String()+", is no contact")
	return nil
}

// aliasFacts returns what a claim by a rests on: an alias of the store may
// change meanwhile.
func aliasFacts(a *mailflow.Alias) []mailflow.Fact {
	if a.Version == 0 {
		return nil
	}
	return []mailflow.Fact{{Kind: mailflow.FactVersion, Key: mailflow.AliasKey(a.Address), Version: a.Version}}
}

// threadFact says that the thread is there.
func threadFact(id string) mailflow.Fact {
	return mailflow.Fact{Kind: mailflow.FactExists, Key: mailflow.ThreadKey(id)}
}

// HandleRcpt implements mailflow.RcptHandler.
func (h *Aliases) HandleRcpt(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient) (mailflow.Prospect, error) {
	as, err := h.aliases(ctx, tx, rcpt.Address)
	if err != nil || len(as) == 0 {
		return mailflow.ProspectNone, err
	}
	return mailflow.ProspectMaybe, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	aliases
func (*Aliases) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.RcptHandler  = (*Aliases)(nil)
	_ mailflow.ServicesUser = (*Aliases)(nil)
	_ mailroute.RouteBound  = (*Aliases)(nil)
	_ caddyfile.Unmarshaler = (*Aliases)(nil)
)
