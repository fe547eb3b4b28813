// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Replies)) }

// Replies posts answers to the threads that they answer. What proves the
// thread is a signed address, the ids of messages that the mail quotes, or
// less; what is weak counts only for a sender who has to do with the thread.
//
// An answer that comes to an alias of another model is a forward: it goes on
// and opens a thread there. The contact rule of an alias holds for answers
// too. An answer to an internal note is a note, and so is a vacation notice or
// a read receipt, which needs a full proof. The author, if he is a contact,
// follows the thread from then on.
type Replies struct{ receiver }

// CaddyModule returns the Caddy module information.
func (*Replies) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.replies", New: func() caddy.Module { return new(Replies) }}
}

// The codes of the trace, beside the proofs of package reply.
const (
	codeReply         = "reply"
	codeReplyGone     = "reply_target_missing"
	codeForward       = "forward"
	codeWeak          = "weak"
	codePassed        = "passed_over"
	codeAnswerRefusal = "loop_tag_in_references"
	fixSameModel      = "fix:same_model_alias"
)

// Handle implements mailflow.Handler.
func (h *Replies) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Message == nil || len(tx.Pending()) == 0 {
		return next(ctx, tx)
	}
	a, err := h.study(ctx, tx)
	if err != nil {
		return err
	}
	switch {
	case a == nil:
	case h.odoo() && a.quoted.Loops():
		claimAll(tx, mailflow.Drop{Reason: "it answers a refusal"}, codeAnswerRefusal, "it answers a refusal, so that it may be a loop")
	case h.odoo():
		err = h.answerAll(ctx, a)
	default:
		for _, r := range tx.Pending() {
			if err = h.answer(ctx, a, r.Address); err != nil {
				break
			}
		}
		if err == nil {
			err = h.besides(tx)
		}
		if err == nil && a.quoted.Loops() {
			claimAll(tx, mailflow.Unroute{Reason: "it answers a refusal and no thread"}, codeAnswerRefusal,
				"it answers a refusal and no thread, so that it may be a loop")
		}
	}
	if err != nil {
		return err
	}
	return next(ctx, tx)
}

// answer posts the mail for rcpt, if it answers a thread that rcpt may mean.
func (h *Replies) answer(ctx context.Context, a *answer, rcpt mailflow.Address) error {
	as, err := h.aliases(ctx, a.tx, rcpt)
	if err != nil {
		return err
	}
	model, via := "", (*mailflow.Alias)(nil)
	if len(as) > 0 {
		via, model = &as[0], as[0].Model
	}
	found, t, err := a.decide(reply.ByAddress(rcpt, a.tx.Tokens), model)
	if err != nil {
		return err
	}
	a.explain(rcpt, found)
	if t == nil && model != "" {
		if found, other, err := a.decide("", ""); err != nil {
			return err
		} else if other != nil && found.Weak == "" {
			a.tx.Trace.Note(codeForward, "it answers "+other.ID+" of "+other.Model+", and "+rcpt.String()+" opens threads of "+model)
		}
	}
	switch {
	case t == nil:
		return nil
	case a.kind.Answers() && found.Weak != "":
		a.tx.Trace.Note(codeAutomatic, a.why+"; it does not prove its thread")
		return nil
	}
	h.belongs(a.tx, t.Domain)
	code, fs, err := h.refusal(ctx, a, via, t)
	if err != nil {
		return err
	}
	if code != "" {
		return refuse(a.tx, rcpt, code, alias.Reply(code, rcpt, via.Refuse, h.domains.Find(via.Address.Domain)))
	}
	return a.post(rcpt, t, found, fs, via)
}

// answerAll posts the mail for all recipients as Odoo does: it looks at the
// mail as a whole, and at what stands in its header.
func (h *Replies) answerAll(ctx context.Context, a *answer) error {
	token := ""
	for _, r := range a.tx.Pending() {
		if token = reply.ByAddress(r.Address, a.tx.Tokens); token != "" {
			break
		}
	}
	found, t, err := a.decide(token, "")
	if err != nil {
		return err
	}
	a.explain(mailflow.Address{}, found)
	if t == nil {
		return nil
	}
	h.belongs(a.tx, t.Domain)
	forward, err := h.forwards(ctx, a.tx, t.Model)
	if err != nil {
		return err
	}
	via, err := h.aliasOf(ctx, a.tx, t.Model)
	if err != nil {
		return err
	}
	pending := a.tx.Pending()
	if forward {
		a.tx.Trace.Note(codeForward, "it answers "+t.ID+" of "+t.Model+", and is written to an alias of another model")
		if pending, err = h.sameModel(ctx, a.tx, t.Model); err != nil {
			return err
		}
	}
	code, fs, err := h.refusal(ctx, a, via, t)
	if err != nil {
		return err
	}
	if code == alias.CodeNotEmployee {
		a.tx.Trace.Note(alias.FixExactContact, "employees are known by their whole addresses")
	}
	for _, r := range pending {
		if code != "" {
			err = refuse(a.tx, r.Address, code, alias.Reply(code, via.Address, via.Refuse, h.domains.Find(via.Address.Domain)))
		} else {
			err = a.post(r.Address, t, found, fs, via)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameModel returns the pending recipients that are aliases of that model:
// they still answer the thread when another alias makes the mail a forward.
func (h *Replies) sameModel(ctx context.Context, tx *mailflow.Transaction, model string) ([]mailflow.Recipient, error) {
	var same []mailflow.Recipient
	for _, r := range tx.Pending() {
		as, err := h.aliases(ctx, tx, r.Address)
		if err != nil {
			return nil, err
		}
		if len(as) > 0 && as[0].Model == model {
			tx.Trace.Note(fixSameModel, r.Address.String()+" is of the thread's own model")
			same = append(same, r)
		}
	}
	return same, nil
}

// forwards reports whether the mail is written to an alias of another model.
func (h *Replies) forwards(ctx context.Context, tx *mailflow.Transaction, model string) (bool, error) {
	for _, to := range direct(tx) {
		as, err := h.aliases(ctx, tx, to)
		if err != nil {
			return false, err
		}
		for i := range as {
			if as[i].Model != "" && as[i].Model != model {
				return true, nil
			}
		}
	}
	return false, nil
}

// aliasOf returns an alias of that model that the mail is for by its header,
// or nil.
func (h *Replies) aliasOf(ctx context.Context, tx *mailflow.Transaction, model string) (*mailflow.Alias, error) {
	to := envelopeAddresses(tx)
	if groups := alias.Addressed(tx.Message.Header, h.behavior); len(groups) > 0 {
		to = groups[0]
	}
	for _, rcpt := range to {
		as, err := h.aliases(ctx, tx, rcpt)
		if err != nil {
			return nil, err
		}
		for i := range as {
			if as[i].Model == model {
				return &as[i], nil
			}
		}
	}
	return nil, nil //nolint:nilnil // no alias is no error here
}

// refusal returns the code of why the alias does not take the answer, "" if it
// does or there is no alias, and the followers of the thread.
func (*Replies) refusal(ctx context.Context, a *answer, via *mailflow.Alias, t *mailflow.Thread) (string, []mailflow.Follower, error) {
	fs, err := a.followersOf(ctx, t.ID)
	if err != nil || via == nil {
		return "", fs, err
	}
	return alias.Refusal(via, a.writer, t.ID, fs), fs, nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (h *Replies) HandleRcpt(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (mailflow.Prospect, error) {
	if h.domains.Ours(rcpt.Address) {
		return mailflow.ProspectMaybe, nil
	}
	return mailflow.ProspectNone, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	replies
func (*Replies) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.RcptHandler  = (*Replies)(nil)
	_ mailflow.ServicesUser = (*Replies)(nil)
	_ mailroute.RouteBound  = (*Replies)(nil)
	_ caddyfile.Unmarshaler = (*Replies)(nil)
)
