// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Tag)) }

// Tag puts a mark on the message, which later handlers, logs and events see.
// A message has one value for each key: the last one wins.
type Tag struct {
	// The key.
	Key string `json:"key"`

	// The value.
	Value string `json:"value"`
}

// CaddyModule returns the Caddy module information.
func (*Tag) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.tag", New: func() caddy.Module { return new(Tag) }}
}

// Provision replaces placeholders.
func (h *Tag) Provision(caddy.Context) error { return expand(&h.Key, &h.Value) }

// Validate checks that there is a key.
func (h *Tag) Validate() error {
	if h.Key == "" {
		return errors.New("a tag needs a key")
	}
	return nil
}

// Handle implements mailflow.Handler.
func (h *Tag) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Tag(h.Key, h.Value)
	tx.Trace.Won("tagged", h.Key+"="+h.Value)
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	tag <key> <value>
func (h *Tag) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if !d.AllArgs(&h.Key, &h.Value) {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ caddy.Provisioner     = (*Tag)(nil)
	_ caddy.Validator       = (*Tag)(nil)
	_ mailflow.Handler      = (*Tag)(nil)
	_ caddyfile.Unmarshaler = (*Tag)(nil)
)
