// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
	_ "github.com/mailcaddy/mailcaddy/modules/dnscheck"
	_ "github.com/mailcaddy/mailcaddy/modules/outbound"
	_ "github.com/mailcaddy/mailcaddy/modules/routing"
)

func init() {
	caddy.RegisterModule(new(fakeListener))
	caddy.RegisterModule(new(fakeStore))
}

// fakeListener is a listener that speaks with nobody.
type fakeListener struct {
	Name   string   `json:"name,omitempty"`
	Listen []string `json:"listen,omitempty"`
	World  bool     `json:"receives,omitempty"`

	services *mailflow.Services
}

func (*fakeListener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.listeners.smtp", New: func() caddy.Module { return new(fakeListener) }}
}

func (l *fakeListener) Addresses() []string { return l.Listen }

func (l *fakeListener) Receives() bool { return l.World }

func (l *fakeListener) UseServices(s *mailflow.Services) error {
	l.services = s
	return nil
}

func (*fakeListener) Serve(_ context.Context, ln net.Listener, _ mailflow.Gate) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return nil //nolint:nilerr // an Accept that fails is how serving ends
		}
		_ = conn.Close()
	}
}

func (l *fakeListener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{
		Args:    caddyblock.Strings(&l.Listen),
		Options: caddyblock.Options{"name": caddyblock.String(&l.Name)},
	}.Read(d)
}

// fakeStore is a store that cannot be opened.
type fakeStore struct {
	Path string `json:"path,omitempty"`
}

var errFakeStore = errors.New("this store is never opened")

func (*fakeStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.stores.sqlite", New: func() caddy.Module { return new(fakeStore) }}
}

func (s *fakeStore) Identity() string { return "fake " + s.Path }

func (*fakeStore) Open(context.Context) (mailflow.Store, error) { return nil, errFakeStore }

func (s *fakeStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{Args: caddyblock.String(&s.Path)}.Read(d)
}
