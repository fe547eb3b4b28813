// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Ticket)) }

// Ticket finds the number of a ticket in the subject. It marks the message
// with the tag "ticket", and lets it leave with the number in a header field.
// A field of that name which came with the mail is taken away: nobody else
// says what ticket it is about.
type Ticket struct {
	// What a ticket looks like in a subject: a regular expression, whose first
	// group is the number. Default: `\[#(\d{1,12})\]`
	Pattern string `json:"pattern,omitempty"`

	// The header field. Default: X-Ticket
	Header string `json:"header,omitempty"`

	pattern *regexp.Regexp
}

// CaddyModule returns the Caddy module information.
func (*Ticket) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.ticket", New: func() caddy.Module { return new(Ticket) }}
}

// Provision sets the defaults and reads the pattern.
func (h *Ticket) Provision(caddy.Context) (err error) {
	if h.Pattern == "" {
		h.Pattern = `\[#(\d{1,12})\]`
	}
	if h.Header == "" {
		h.Header = "X-Ticket"
	}
	if h.pattern, err = regexp.Compile(h.Pattern); err != nil {
		return fmt.Errorf("reading the pattern of tickets: %w", err)
	}
	return nil
}

// Validate checks the pattern and the name of the field.
func (h *Ticket) Validate() error {
	if h.pattern.NumSubexp() == 0 {
		return fmt.Errorf("the pattern %s has no group; put the number in parentheses", h.Pattern)
	}
	if strings.ContainsFunc(h.Header, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return fmt.Errorf("%q is no name for a header field", h.Header)
	}
	return nil
}

// Handle implements mailflow.Handler.
func (h *Ticket) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	number := h.number(tx.Message.Header.Get("Subject"))
	if number == "" {
		tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderRemove, Name: h.Header})
		tx.Trace.Note("no_ticket", "the subject names none")
		return next(ctx, tx)
	}
	tx.Tag("ticket", number)
	tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderSet, Name: h.Header, Value: number})
	tx.Trace.Note("ticket", number)
	return next(ctx, tx)
}

// maxNumber bounds what a stranger can put into a tag and a header field. No
// numbering of tickets needs more.
const maxNumber = 64

// number returns the ticket that a subject names, or "". The subject is a
// stranger's: a line break in it must not get into a header field.
func (h *Ticket) number(subject string) string {
	found := h.pattern.FindStringSubmatch(subject)
	if found == nil || len(found[1]) > maxNumber ||
		strings.ContainsFunc(found[1], func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return ""
	}
	return found[1]
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	ticket [<pattern>] {
//		header <name>
//	}
func (h *Ticket) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		h.Pattern = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "header":
			if h.Header != "" {
				return d.Err("the header field is named already")
			}
			if !d.AllArgs(&h.Header) {
				return d.ArgErr()
			}
		default:
			return d.Errf("unrecognized ticket option %q", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Ticket)(nil)
	_ caddy.Validator       = (*Ticket)(nil)
	_ mailflow.Handler      = (*Ticket)(nil)
	_ caddyfile.Unmarshaler = (*Ticket)(nil)
)
