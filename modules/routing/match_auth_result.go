// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/rule/domainauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchAuthResult)) }

// MatchAuthResult matches what authenticate found proven about the sender; it
// stands behind that. It needs the content.
//
// Only dmarc is about the author whom a human sees: a pass for another domain
// than that of From does not count. "dkim pass" says that some domain signed
// the mail, and "spf pass" that the sending host may use the domain of the
// envelope's sender; anybody can have both for a domain of his own.
//
// The JSON maps methods (spf, dkim, dmarc, arc, auth) to results (pass, fail,
// softfail, neutral, none, temperror, permerror). All methods have to match; a
// method does when it has one of the results. "none" is also a method that
// nobody tells of.
type MatchAuthResult map[string][]string

// CaddyModule returns the Caddy module information.
func (*MatchAuthResult) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.auth_result", New: func() caddy.Module { return new(MatchAuthResult) }}
}

// Provision replaces placeholders in the results.
func (m *MatchAuthResult) Provision(caddy.Context) error {
	for method, results := range *m {
		expanded, err := expandAll(results)
		if err != nil {
			return err
		}
		(*m)[method] = expanded
	}
	return nil
}

// Validate checks the methods and results.
func (m *MatchAuthResult) Validate() error {
	if len(*m) == 0 {
		return errors.New("there is no method, such as dmarc")
	}
	for _, method := range slices.Sorted(maps.Keys(*m)) {
		if err := among("method", method, domainauth.Methods); err != nil {
			return err
		}
		if len((*m)[method]) == 0 {
			return fmt.Errorf("%s has no result, such as pass", method)
		}
		for _, result := range (*m)[method] {
			if err := among("result", result, domainauth.Outcomes); err != nil {
				return err
			}
		}
	}
	return nil
}

// among refuses a word that is none of those known.
func among(what, word string, known []string) error {
	if slices.Contains(known, word) {
		return nil
	}
	if meant := caddyblock.Suggest(word, known); meant != "" {
		return fmt.Errorf("%q is no %s; did you mean %q?", word, what, meant)
	}
	return fmt.Errorf("%q is no %s; write one of %s", word, what, strings.Join(known, ", "))
}

// Match implements mailflow.Matcher.
func (m *MatchAuthResult) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	if tx.Message == nil {
		return false, nil
	}
	for method, wanted := range *m {
		has := authResults(tx, method)
		if !slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(has, w) }) {
			return false, nil
		}
	}
	return true, nil
}

// authResults returns the results of a method; "none" if nobody tells of it.
func authResults(tx *mailflow.Transaction, method string) []string {
	var has []string
	for _, r := range tx.Auth {
		if r.Method == method && !ofAnother(tx, r) {
			has = append(has, r.Result)
		}
	}
	if has == nil {
		return []string{"none"}
	}
	return has
}

// ofAnother reports whether r is a pass of DMARC that is about another author:
// From may name several.
func ofAnother(tx *mailflow.Transaction, r mailflow.AuthResult) bool {
	return r.Method == "dmarc" && r.Result == "pass" && r.Domain != "" &&
		!domainauth.Aligned(r.Domain, authorOf(tx, mailflow.BehaviorDocumented).Address.Domain)
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	auth_result arc|auth|dkim|dmarc|spf <result>...
//
// The results are pass, fail, softfail, neutral, none, temperror and permerror;
// one of them has to hold. Several lines with one method give it more of them;
// several methods have to hold each.
func (m *MatchAuthResult) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if *m == nil {
		*m = make(MatchAuthResult)
	}
	for d.Next() { // consume directive name
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		if err := among("method", args[0], domainauth.Methods); err != nil {
			return d.WrapErr(err)
		}
		for _, result := range args[1:] {
			if strings.Contains(result, "{") {
				continue // a placeholder
			}
			if err := among("result", result, domainauth.Outcomes); err != nil {
				return d.WrapErr(err)
			}
		}
		(*m)[args[0]] = append((*m)[args[0]], args[1:]...)
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}

var (
	_ caddy.Provisioner     = (*MatchAuthResult)(nil)
	_ caddy.Validator       = (*MatchAuthResult)(nil)
	_ mailflow.Matcher      = (*MatchAuthResult)(nil)
	_ caddyfile.Unmarshaler = (*MatchAuthResult)(nil)
)
