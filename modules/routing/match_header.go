// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchHeader)) }

// MatchHeader matches header fields of the message. It needs the content.
//
// The JSON maps field names to values. All names have to match; a name does
// when one of its fields has one of the values, encoded words decoded. A value
// may begin or end with "*", for a suffix, a prefix or a part; "*" alone means
// that the field is there. No value (null) means that it is not there.
type MatchHeader map[string][]string

// CaddyModule returns the Caddy module information.
func (*MatchHeader) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.header", New: func() caddy.Module { return new(MatchHeader) }}
}

// Provision replaces placeholders in the values.
func (m *MatchHeader) Provision(caddy.Context) error {
	for name, values := range *m {
		if values == nil {
			continue
		}
		expanded, err := expandAll(values)
		if err != nil {
			return err
		}
		(*m)[name] = expanded
	}
	return nil
}

// Validate checks the names.
func (m *MatchHeader) Validate() error {
	if len(*m) == 0 {
		return errors.New("there is no field name")
	}
	for name := range *m {
		if !fieldName(name) {
			return fmt.Errorf("%q is no name of a header field", name)
		}
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchHeader) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	if tx.Message == nil {
		return false, nil
	}
	for name, patterns := range *m {
		values := tx.Message.Header.Values(name)
		if patterns == nil {
			if len(values) > 0 {
				return false, nil
			}
			continue
		}
		if !slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return wildcard(p, v) })
		}) {
			return false, nil
		}
	}
	return true, nil
}

// wildcard reports whether value is what pattern says, which may have a "*" at
// either end.
func wildcard(pattern, value string) bool {
	rest, open := strings.CutPrefix(pattern, "*")
	part, ends := strings.CutSuffix(rest, "*")
	switch {
	case pattern == "*" || open && ends:
		return strings.Contains(value, part)
	case open:
		return strings.HasSuffix(value, rest)
	case ends:
		return strings.HasPrefix(value, part)
	}
	return value == pattern
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	header <field> [<value...>]
//	header !<field>
//
// Several lines with one field give it several values.
func (m *MatchHeader) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if *m == nil {
		*m = make(MatchHeader)
	}
	for d.Next() { // consume directive name
		args := d.RemainingArgs()
		if len(args) == 0 || len(args) > 1 && strings.HasPrefix(args[0], "!") {
			return d.ArgErr()
		}
		value := "*"
		if len(args) > 1 {
			value = strings.Join(args[1:], " ")
		}
		if err := m.set(args[0], value); err != nil {
			return d.WrapErr(err)
		}
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}

// set adds a value for the field; a name with "!" says that it is not there.
func (m *MatchHeader) set(name, value string) error {
	name, absent := strings.CutPrefix(name, "!")
	name = textproto.CanonicalMIMEHeaderKey(name)
	before, known := (*m)[name]
	if known && (absent || before == nil) {
		return fmt.Errorf("header %s cannot both be there and not", name)
	}
	if absent {
		(*m)[name] = nil
		return nil
	}
	(*m)[name] = append(before, value)
	return nil
}

var (
	_ caddy.Provisioner     = (*MatchHeader)(nil)
	_ caddy.Validator       = (*MatchHeader)(nil)
	_ mailflow.Matcher      = (*MatchHeader)(nil)
	_ caddyfile.Unmarshaler = (*MatchHeader)(nil)
)
