// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Dedupe)) }

// Dedupe accepts a mail that came before and does nothing more with it. It is
// the same mail if its Message-Id, its recipient and its content are the same:
// author, date, subject and body. Other content under a known Message-Id is a
// new mail.
//
// At a catchall address author, subject and body are enough for a while,
// whatever the Message-Id is: two machines that answer each other make a new
// one each time. It stands before all that may claim the mail.
type Dedupe struct {
	// How long a mail to a catchall address keeps others away that have its
	// author, subject and body. Default: 2h.
	Window caddy.Duration `json:"window,omitempty"`

	receiver
}

// CaddyModule returns the Caddy module information.
func (*Dedupe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.dedupe", New: func() caddy.Module { return new(Dedupe) }}
}

// Times of remembering.
const (
	// defaultWindow is mail.gateway.loop.minutes of the documentation.
	defaultWindow = 2 * time.Hour
	// seenFor is longer than any server tries to deliver a mail (RFC 5321
	// section 4.5.4.1: 5 days), and than a mailbox is left alone by a fetcher
	// that is down.
	seenFor = 30 * 24 * time.Hour
)

// The codes of the trace.
const (
	codeDuplicate = "duplicate_message_id"
	codeAgain     = "duplicate_in_window"
	fixDupContent = "fix:dup_content"
)

// Provision sets the defaults.
func (h *Dedupe) Provision(caddy.Context) error {
	if h.Window == 0 {
		h.Window = caddy.Duration(defaultWindow)
	}
	return nil
}

// Validate checks the window.
func (h *Dedupe) Validate() error {
	if h.Window < 0 {
		return fmt.Errorf("window is negative: %s", time.Duration(h.Window))
	}
	return nil
}

// Handle implements mailflow.Handler.
func (h *Dedupe) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Again || tx.Message == nil || len(tx.Pending()) == 0 {
		return next(ctx, tx)
	}
	p, err := takePrint(tx.Message)
	if err != nil {
		return fmt.Errorf("reading the message: %w", err)
	}
	id := reply.MessageID(tx.Message.Header)
	var facts map[string][]mailflow.Fact
	if h.odoo() {
		facts, err = h.recallAll(ctx, tx, id, p)
	} else {
		facts, err = h.recall(ctx, tx, id, p)
	}
	if err != nil {
		return err
	}
	if err := next(ctx, tx); err != nil {
		return err
	}
	if id != "" && !h.odoo() {
		if err := oncePerThread(ctx, tx, id, p); err != nil {
			return err
		}
	}
	return h.remember(tx, facts)
}

// oncePerThread drops what is in its thread already: the same mail came there
// by another of its recipients.
func oncePerThread(ctx context.Context, tx *mailflow.Transaction, id string, p prints) error {
	added := make(map[string]bool)
	for _, v := range tx.Verdicts() {
		a, ok := v.Action.(mailflow.PostTo)
		if !ok || a.Thread == "" {
			continue
		}
		f := absent(tx, "in", a.Thread, id, p.whole)
		known, err := tx.View.Version(ctx, f.Key)
		switch {
		case err != nil:
			return fmt.Errorf("looking for duplicates: %w", err)
		case known > 0:
			if _, _, err := tx.Overturn(v.Recipient.Address); err != nil {
				return err
			}
			if err := drop(tx, v.Recipient.Address, codeDuplicate, id+" in "+a.Thread); err != nil {
				return err
			}
		case !added[f.Key]:
			added[f.Key] = true
			if err := tx.AddFacts(v.Recipient.Address, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// recall drops the recipients that have the mail already, and returns for the
// others the facts that it is new.
func (h *Dedupe) recall(ctx context.Context, tx *mailflow.Transaction, id string, p prints) (map[string][]mailflow.Fact, error) {
	facts := make(map[string][]mailflow.Fact)
	all := tx.Pending()
	for _, r := range all {
		key := r.Address.Key()
		if id != "" {
			f := absent(tx, "seen", id, key, p.whole)
			known, err := tx.View.Version(ctx, f.Key)
			if err != nil {
				return nil, fmt.Errorf("looking for duplicates: %w", err)
			}
			if known > 0 {
				if err := drop(tx, r.Address, codeDuplicate, id); err != nil {
					return nil, err
				}
				continue
			}
			facts[key] = append(facts[key], f)
		}
		if _, is := h.isCatchall(r.Address); !is {
			continue
		}
		f := h.once(tx, key, p.words)
		n, err := tx.View.Count(ctx, f.Key, f.Since, f.Bound)
		if err != nil {
			return nil, fmt.Errorf("looking for duplicates: %w", err)
		}
		if n > 0 {
			if err := drop(tx, r.Address, codeAgain, "a message of this author with this subject and text"); err != nil {
				return nil, err
			}
			continue
		}
		facts[key] = append(facts[key], f)
	}
	if len(tx.Pending()) < len(all) {
		return facts, h.dropBeside(tx, id)
	}
	return facts, nil
}

// dropBeside drops the catchall addresses of a mail that another of its
// recipients has already, where no others are left: beside an address that
// means something, catchall means what that does.
func (h *Dedupe) dropBeside(tx *mailflow.Transaction, id string) error {
	left := tx.Pending()
	for _, r := range left {
		if _, is := h.isCatchall(r.Address); !is {
			return nil
		}
	}
	for _, r := range left {
		if err := drop(tx, r.Address, codeDuplicate, id); err != nil {
			return err
		}
	}
	return nil
}

// recallAll does as Odoo: a mail with the Message-Id of a message in a thread
// is the same one, whoever it is for; so is one of its own that comes back by
// a relay that changed the id. But other content is a new mail.
func (h *Dedupe) recallAll(ctx context.Context, tx *mailflow.Transaction, id string, p prints) (map[string][]mailflow.Fact, error) {
	if own := odooIDs(tx.Message.Header); len(own) > 0 {
		posts, err := tx.View.Posts(ctx, own, 1)
		if err != nil {
			return nil, fmt.Errorf("looking for duplicates: %w", err)
		}
		if len(posts) > 0 {
			claimAll(tx, mailflow.Drop{Reason: "duplicate of " + own[0]}, codeDuplicate, own[0])
			return nil, nil
		}
	}
	if id == "" {
		return nil, nil
	}
	f := absent(tx, "seen", id, p.whole)
	known, err := tx.View.Version(ctx, f.Key)
	if err != nil {
		return nil, fmt.Errorf("looking for duplicates: %w", err)
	}
	posts, err := tx.View.Posts(ctx, []string{id}, maxPosts)
	if err != nil {
		return nil, fmt.Errorf("looking for duplicates: %w", err)
	}
	ours := func(p mailflow.Post) bool { return p.Message == "" && p.MessageID == id }
	if known > 0 || slices.ContainsFunc(posts, ours) {
		claimAll(tx, mailflow.Drop{Reason: "duplicate of " + id}, codeDuplicate, id)
		return nil, nil
	}
	if len(posts) > 0 {
		tx.Trace.Note(fixDupContent, "a message with that Message-Id is known, and has other content")
	}
	return map[string][]mailflow.Fact{"": {f}}, nil
}

// odooIDs returns the ids in X-Odoo-Message-Id.
func odooIDs(h mailflow.Header) []string {
	return reply.References(mailflow.ParseHeader([]byte("References: " + h.Get("X-Odoo-Message-Id") + "\r\n\r\n")))
}

// remember adds to each decision the facts that the mail is new for its
// recipient; those under "" belong to the first claim. What is refused, or goes
// to the unrouted box, is new again for Odoo, which keeps nothing of it.
func (h *Dedupe) remember(tx *mailflow.Transaction, facts map[string][]mailflow.Fact) error {
	for _, v := range tx.Verdicts() {
		if v.Action == nil && (v.Reply == nil || h.odoo()) {
			continue
		}
		if _, unrouted := v.Action.(mailflow.Unroute); unrouted && h.odoo() {
			continue
		}
		for _, key := range [...]string{v.Recipient.Address.Key(), ""} {
			if len(facts[key]) == 0 {
				continue
			}
			if err := tx.AddFacts(v.Recipient.Address, facts[key]...); err != nil {
				return err
			}
			delete(facts, key)
		}
	}
	return nil
}

// absent returns the fact that there is no such record, which makes one.
func absent(tx *mailflow.Transaction, kind string, parts ...string) mailflow.Fact {
	return mailflow.Fact{
		Kind: mailflow.FactAbsent, Key: mailflow.FactKey(kind, parts...),
		At: tx.Now, Expires: tx.Now.Add(seenFor),
	}
}

// once returns the fact that no mail of these words came to the catchall
// address within the window.
func (h *Dedupe) once(tx *mailflow.Transaction, rcpt, words string) mailflow.Fact {
	return mailflow.Fact{
		Kind: mailflow.FactBelow, Key: mailflow.FactKey("words", rcpt, words), Bound: 1,
		Since: tx.Now.Add(-time.Duration(h.Window)), At: tx.Now, Expires: tx.Now.Add(time.Duration(h.Window)),
	}
}

// drop drops the mail for one recipient, as a duplicate of what.
func drop(tx *mailflow.Transaction, rcpt mailflow.Address, code, what string) error {
	tx.Trace.Won(code, rcpt.String()+" has it: "+what)
	return tx.Claim(rcpt, mailflow.Drop{Reason: "duplicate of " + what})
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	dedupe {
//		window <duration>
//	}
func (h *Dedupe) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "window":
			var text string
			if !d.AllArgs(&text) {
				return d.ArgErr()
			}
			window, err := caddy.ParseDuration(text)
			if err != nil || window <= 0 {
				return d.Errf("window %q is no duration such as 2h", text)
			}
			h.Window = caddy.Duration(window)
		default:
			return d.Errf("unknown option %q; there is window", d.Val())
		}
	}
	return nil
}

var (
	_ caddy.Provisioner     = (*Dedupe)(nil)
	_ caddy.Validator       = (*Dedupe)(nil)
	_ mailflow.Handler      = (*Dedupe)(nil)
	_ mailflow.ServicesUser = (*Dedupe)(nil)
	_ mailroute.RouteBound  = (*Dedupe)(nil)
	_ caddyfile.Unmarshaler = (*Dedupe)(nil)
)
