// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Header)) }

// Header changes a header field of what is sent. The stored message stays as
// it came.
//
// Fields that tell the way of a message (Received, Return-Path, …), those that
// hold its content together (Content-Type, …), signatures and Bcc cannot be
// changed. Date and Message-Id can be added where they are missing.
type Header struct {
	// What is done: "set" takes the place of all fields of that name, "add"
	// stands before the others, "ensure" is added where there is none, and
	// "remove" takes all away.
	// Default: set
	Op mailflow.HeaderOp `json:"op,omitempty"`

	// The field's name.
	Name string `json:"name"`

	// The new text, on one line. Letters outside ASCII are encoded.
	Value string `json:"value,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Header) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.header", New: func() caddy.Module { return new(Header) }}
}

// Provision sets the defaults.
func (h *Header) Provision(caddy.Context) error {
	if h.Op == "" {
		h.Op = mailflow.HeaderSet
	}
	return expand(&h.Name, &h.Value)
}

// Validate checks the change.
func (h *Header) Validate() error {
	switch h.Op {
	case mailflow.HeaderSet, mailflow.HeaderAdd, mailflow.HeaderEnsure:
		if strings.TrimSpace(h.Value) == "" {
			return fmt.Errorf("header %s needs a value", h.Name)
		}
	case mailflow.HeaderRemove:
		if h.Value != "" {
			return fmt.Errorf("header %s is removed and takes no value", h.Name)
		}
	default:
		return fmt.Errorf("header operation %q is none of set, add, ensure, remove", h.Op)
	}
	if !fieldName(h.Name) {
		return fmt.Errorf("%q is no name of a header field", h.Name)
	}
	if strings.ContainsAny(h.Value, "\r\n\x00") {
		return errors.New("the value of a header field stands on one line")
	}
	switch why := protected[strings.ToLower(h.Name)]; {
	case why == "":
		return nil
	case why == onlyMissing && h.Op == mailflow.HeaderEnsure:
		return nil
	default:
		return fmt.Errorf("header %s cannot be changed: it %s", h.Name, why)
	}
}

const (
	tellsWay    = "tells the way of the message"
	ofContent   = "belongs to the content"
	isSigned    = "is a signature or a verdict"
	neverSent   = "is never sent"
	onlyMissing = "is only added where it is missing, as in \"header ?NAME VALUE\""
)

// protected are the fields that no route changes, with the reason.
var protected = map[string]string{
	"received": tellsWay, "return-path": tellsWay, "received-spf": tellsWay,
	"delivered-to": tellsWay, "x-original-to": tellsWay,
	"content-type": ofContent, "content-transfer-encoding": ofContent, "mime-version": ofContent,
	"dkim-signature": isSigned, "authentication-results": isSigned,
	"arc-seal": isSigned, "arc-message-signature": isSigned, "arc-authentication-results": isSigned,
	"bcc": neverSent, "resent-bcc": neverSent,
	"date": onlyMissing, "message-id": onlyMissing,
}

// fieldName reports whether s is an ftext (RFC 5322 section 3.6.8).
func fieldName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) < 0
}

// Handle implements mailflow.Handler.
func (h *Header) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.ChangeHeader(mailflow.HeaderChange{Op: h.Op, Name: h.Name, Value: h.Value})
	tx.Trace.Won("header_changed", string(h.Op)+" "+h.Name)
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	header [+|-|?]<field> [<value...>]
//
// Without a sign the field is set; + adds one, - removes all, ? adds one where
// there is none.
func (h *Header) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if !d.NextArg() {
		return d.ArgErr()
	}
	h.Name, h.Op = d.Val(), mailflow.HeaderSet
	for sign, op := range map[string]mailflow.HeaderOp{
		"+": mailflow.HeaderAdd, "-": mailflow.HeaderRemove, "?": mailflow.HeaderEnsure,
	} {
		if name, ok := strings.CutPrefix(d.Val(), sign); ok {
			h.Name, h.Op = name, op
		}
	}
	args := d.RemainingArgs()
	if (len(args) == 0) != (h.Op == mailflow.HeaderRemove) {
		return d.ArgErr()
	}
	h.Value = strings.Join(args, " ")
	return noBlock(d)
}

var (
	_ caddy.Provisioner     = (*Header)(nil)
	_ caddy.Validator       = (*Header)(nil)
	_ mailflow.Handler      = (*Header)(nil)
	_ caddyfile.Unmarshaler = (*Header)(nil)
)
