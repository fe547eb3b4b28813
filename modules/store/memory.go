// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(Memory))
}

// Memory keeps mail in memory, for trying things out. Mail that was accepted
// is lost when the process ends; it survives a reload of the configuration.
type Memory struct{}

// CaddyModule returns the Caddy module information.
func (*Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "mail.stores.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// Identity implements mailflow.StoreOpener. A process has one memory.
func (*Memory) Identity() string { return "memory" }

// Open implements mailflow.StoreOpener.
func (*Memory) Open(context.Context) (mailflow.Store, error) {
	return memstore.Open(time.Now), nil
}

// UnmarshalCaddyfile sets up m from Caddyfile tokens. Syntax:
//
//	store memory
func (*Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	return caddyblock.Block{Kind: "memory store"}.ReadRest(d)
}

// Interface guards
var (
	_ mailflow.StoreOpener  = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
