// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/domainauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Authenticate)) }

// Authenticate finds out what is proven about who sent a mail, for those that
// come behind it: auth_result, and the rule for whom a refusal is sent to.
//
// Two things prove something. Who logged in is of the domain that its user
// entry names. And the Authentication-Results that a mailbox provider wrote are
// believed where trust_auth_results names the provider: all that it wrote on
// top of the first Received field, else its topmost one; what stands below may
// be the sender's. "*.example.com" names all hosts of a provider that has a
// name for each, such as mx1.example.com.
//
// A field in the gateway's own name that comes from outside is a forgery: it is
// never believed, and taken out when the mail is sent on (RFC 8601 section 5).
// Where one hides that name, all Authentication-Results are taken out. The
// handler looks up nothing: it believes no peer that nobody vouches for.
type Authenticate struct {
	hostname string
	domains  mailflow.Domains
}

// CaddyModule returns the Caddy module information.
func (*Authenticate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.authenticate", New: func() caddy.Module { return new(Authenticate) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *Authenticate) UseServices(s *mailflow.Services) error {
	h.hostname, h.domains = s.Hostname, s.Domains
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*Authenticate) OnlyIn() mailflow.RouteName { return mailflow.Inbound }

// The codes of the trace.
const (
	codeAuthUser     = "auth_user"
	codeAuthBelieved = "auth_believed"
	codeAuthNone     = "auth_none"
	codeAuthForged   = "auth_forged"
	codeAuthBelow    = "auth_below"
	codeAuthOthers   = "auth_not_trusted"
)

// maxShownResults bounds the results that one note of the trace names.
const maxShownResults = 8

// Handle implements mailflow.Handler.
func (h *Authenticate) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Message == nil {
		return next(ctx, tx)
	}
	var proven []mailflow.AuthResult
	if user := tx.Peer.User; user != "" {
		r := mailflow.AuthResult{Method: "auth", Result: "pass", Domain: h.domainOf(tx.Peer), By: h.hostname}
		proven = append(proven, r)
		tx.Trace.Note(codeAuthUser, user+" logged in: "+showResults([]mailflow.AuthResult{r}))
	}
	e := domainauth.Examine(tx.Message.Header, h.hostname, tx.Peer.TrustAuth)
	h.note(tx, &e)
	if len(e.Forged) > 0 {
		tx.ChangeHeader(h.takeOut(e.Forged))
	}
	for _, r := range append(proven, e.Results()...) {
		if !slices.Contains(tx.Auth, r) {
			tx.Auth = append(tx.Auth, r)
		}
	}
	return next(ctx, tx)
}

// domainOf returns the domain that who logged in sends for; empty for a user
// who sends for all.
func (h *Authenticate) domainOf(p *mailflow.Peer) string {
	if p.Domain != "" {
		return p.Domain
	}
	if d := h.domains.Default(); d != nil && !slices.Contains(p.FromFilter, "*") {
		return d.Name
	}
	return ""
}

// takeOut returns the change that takes the forgeries out of what is sent.
func (h *Authenticate) takeOut(forged []mailflow.Field) mailflow.HeaderChange {
	c := mailflow.HeaderChange{Op: mailflow.HeaderRemove, Name: domainauth.ResultsField, Value: strings.ToLower(h.hostname)}
	for _, f := range forged {
		if !strings.Contains(strings.ToLower(f.Value()), c.Value) {
			c.Value = "" // written in disguise
		}
	}
	return c
}

// note says what the fields of the mail are worth.
func (h *Authenticate) note(tx *mailflow.Transaction, e *domainauth.Examination) {
	if n := len(e.Forged); n > 0 {
		tx.Trace.Note(codeAuthForged, fmt.Sprintf("%d %s in our own name, %s: not believed", n, fieldsName(n), h.hostname))
	}
	for _, f := range e.Believed {
		tx.Trace.Note(codeAuthBelieved, f.ID+" says "+showResults(f.Results))
	}
	if e.Below > 0 {
		tx.Trace.Note(codeAuthBelow, fmt.Sprintf("%d more %s of whom we trust, where a sender can write: not believed", e.Below, fieldsName(e.Below)))
	}
	if len(e.Others) > 0 {
		tx.Trace.Note(codeAuthOthers, "not believed, since trust_auth_results does not name them: "+showNames(e.Others))
	}
	if len(tx.Peer.TrustAuth) > 0 && len(e.Believed) == 0 {
		tx.Trace.Note(codeAuthNone, "whom we trust says nothing: "+strings.Join(tx.Peer.TrustAuth, ", "))
	}
}

func fieldsName(n int) string {
	if n == 1 {
		return domainauth.ResultsField + " field"
	}
	return domainauth.ResultsField + " fields"
}

// showResults writes results as a human reads them.
func showResults(rs []mailflow.AuthResult) string {
	var all []string
	for _, r := range rs[:min(len(rs), maxShownResults)] {
		text := r.Method + "=" + r.Result
		if r.Domain != "" {
			text += " (" + r.Domain + ")"
		}
		all = append(all, text)
	}
	switch more := len(rs) - len(all); {
	case len(rs) == 0:
		return "nothing"
	case more > 0:
		all = append(all, fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}

// showNames writes IDs that a stranger may have chosen.
func showNames(ids []string) string {
	var all []string
	for _, id := range ids {
		switch _, err := mailflow.NormalizeDomain(id); {
		case id == "":
			id = "one without a name"
		case err != nil:
			id = "one whose name is no domain"
		}
		all = append(all, id)
	}
	return strings.Join(all, ", ")
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	authenticate
func (*Authenticate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.Handler      = (*Authenticate)(nil)
	_ mailflow.ServicesUser = (*Authenticate)(nil)
	_ mailroute.RouteBound  = (*Authenticate)(nil)
	_ caddyfile.Unmarshaler = (*Authenticate)(nil)
)
