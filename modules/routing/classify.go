// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Classify)) }

// Classify says what a mail is for: transactional, or mass mail. That decides
// about servers and queues. The first of these counts: the field
// X-Mail-Purpose of a mail that is submitted here, the purpose of the user who
// submits it, the purpose options of the configuration. Anything else is
// transactional. The field is taken out when the mail is sent.
type Classify struct {
	rules []mailflow.PurposeRule
}

// CaddyModule returns the Caddy module information.
func (*Classify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.classify", New: func() caddy.Module { return new(Classify) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *Classify) UseServices(s *mailflow.Services) error {
	h.rules = s.Purposes
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*Classify) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// purposeField is the field by which an application says the purpose.
const purposeField = "X-Mail-Purpose"

// The codes of the trace.
const (
	codeDomain         = "domain"
	codePurposeField   = "purpose_by_field"
	codePurposeUnknown = "purpose_unknown"
	codePurposeUser    = "purpose_by_user"
	codePurposeRule    = "purpose_by_rule"
	codePurposeNone    = "purpose_by_default"
)

// Handle implements mailflow.Handler.
func (h *Classify) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	purpose, code, err := h.purposeOf(ctx, tx)
	if err != nil {
		return fmt.Errorf("matching for purpose: %w", err)
	}
	tx.Purpose = purpose
	if code == codePurposeNone {
		tx.Trace.Note(code, purpose)
	} else {
		tx.Trace.Won(code, purpose)
	}
	if tx.Domain != "" {
		tx.Trace.Note(codeDomain, "the message belongs to "+tx.Domain)
	}
	if tx.Message != nil && tx.Message.Header.Has(purposeField) {
		tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderRemove, Name: purposeField})
	}
	return next(ctx, tx)
}

// purposeOf returns the purpose and what says so.
func (h *Classify) purposeOf(ctx context.Context, tx *mailflow.Transaction) (purpose, code string, err error) {
	if tx.Message != nil && tx.Peer.Submits && tx.Message.Header.Has(purposeField) {
		said := strings.ToLower(strings.TrimSpace(tx.Message.Header.Get(purposeField)))
		if isPurpose(said) {
			return said, codePurposeField, nil
		}
		tx.Trace.Note(codePurposeUnknown, purposeField+" is none of transactional, mass")
	}
	if tx.Peer.Purpose != "" {
		return tx.Peer.Purpose, codePurposeUser, nil
	}
	for _, rule := range h.rules {
		if ok, err := anyMatches(ctx, tx, rule.Match); ok || err != nil {
			return rule.Purpose, codePurposeRule, err
		}
	}
	return mailflow.PurposeTransactional, codePurposeNone, nil
}

// anyMatches reports whether one of the matchers holds for a pending
// recipient: a mail has one purpose.
func anyMatches(ctx context.Context, tx *mailflow.Transaction, matchers []mailflow.Matcher) (bool, error) {
	for _, r := range tx.Pending() {
		for _, m := range matchers {
			if ok, err := m.Match(ctx, tx, r); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// isPurpose reports whether s is a purpose.
func isPurpose(s string) bool {
	return s == mailflow.PurposeTransactional || s == mailflow.PurposeMass
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	classify
func (*Classify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.Handler      = (*Classify)(nil)
	_ mailflow.ServicesUser = (*Classify)(nil)
	_ mailroute.RouteBound  = (*Classify)(nil)
	_ caddyfile.Unmarshaler = (*Classify)(nil)
)
