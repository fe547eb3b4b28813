// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Purpose gives a purpose to the mail that matchers choose.
type Purpose struct {
	// What the mail is: "transactional" or "mass". Required.
	Purpose string `json:"purpose"`

	// Names of matchers, without their "@". One of them has to hold. Required.
	Match []string `json:"match"`
}

// purposes are what mail and servers may be for.
var purposes = []string{mailflow.PurposeTransactional, mailflow.PurposeMass}

// resolvePurposes returns the purposes for decisions. The matchers are known
// by then.
func (a *App) resolvePurposes() ([]mailflow.PurposeRule, error) {
	var rules []mailflow.PurposeRule
	for _, p := range a.Purpose {
		if p.Purpose == "" || len(p.Match) == 0 {
			return nil, errors.New("purpose: it does not say which mail has which purpose; write `purpose mass @matcher`")
		}
		if err := oneOf("purpose", p.Purpose, purposes...); err != nil {
			return nil, err
		}
		rule := mailflow.PurposeRule{Purpose: p.Purpose}
		for _, name := range p.Match {
			m, ok := a.services.Matchers[name]
			if !ok {
				return nil, fmt.Errorf("purpose %s: matcher @%s is not defined", p.Purpose, name)
			}
			rule.Match = append(rule.Match, m)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// readPurpose reads a purpose and the matchers of its mail.
func (p *piece) readPurpose(d *caddyfile.Dispenser) error {
	var rule Purpose
	if !d.NextArg() {
		return d.ArgErr()
	}
	rule.Purpose = d.Val()
	if err := oneOf("option purpose", rule.Purpose, purposes...); err != nil {
		return d.WrapErr(err)
	}
	for d.NextArg() {
		if !mailroute.IsDefinition(d) {
			return d.Errf("option purpose: %q is no matcher; define one and name it, as in @bulk", d.Val())
		}
		p.defs.Use(d.Token())
		rule.Match = append(rule.Match, strings.TrimPrefix(d.Val(), "@"))
	}
	if len(rule.Match) == 0 {
		return d.Err("option purpose: it names no matcher, such as @bulk")
	}
	p.app.Purpose = append(p.app.Purpose, rule)
	return nil
}
