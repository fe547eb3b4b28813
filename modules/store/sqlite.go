// SPDX-License-Identifier: Apache-2.0

// Package store provides the stores of the mail app: where mail is kept from
// its acceptance until it is delivered and forgotten.
package store

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(SQLite))
}

// SQLite keeps mail in a directory of its own: one SQLite database, and a file
// for each message longer than 32 KiB. What is accepted survives a crash of
// the process and of the machine.
//
// One process has the directory at a time; another one is refused. The file
// system must be a local one.
type SQLite struct {
	// The directory. It is made, readable for this user alone, if it does not
	// exist. Placeholders are resolved when the store is opened. Default:
	// `mail` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "mail.stores.sqlite",
		New: func() caddy.Module { return new(SQLite) },
	}
}

// Identity implements mailflow.StoreOpener: the directory's absolute path with
// symbolic links resolved as far as they exist.
func (s *SQLite) Identity() string {
	dir, err := s.dir()
	if err != nil {
		dir = s.Path // Open tells the error
	}
	return "sqlite " + dir
}

// Open implements mailflow.StoreOpener.
func (s *SQLite) Open(ctx context.Context) (mailflow.Store, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.Open(ctx, sqlstore.Options{Dir: dir, Now: time.Now})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// dir returns the canonical path of the directory.
func (s *SQLite) dir() (string, error) {
	dir := filepath.Join(caddy.AppDataDir(), "mail")
	if s.Path != "" {
		var err error
		if dir, err = caddy.NewReplacer().ReplaceOrErr(s.Path, true, true); err != nil {
			return "", fmt.Errorf("resolving the path of the sqlite store, %q: %w", s.Path, err)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving the path of the sqlite store: %w", err)
	}
	return resolveLinks(dir), nil
}

// resolveLinks returns the absolute path dir with symbolic links resolved in
// the part of it that exists.
func resolveLinks(dir string) string {
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		return target
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return dir
	}
	return filepath.Join(resolveLinks(parent), filepath.Base(dir))
}

// UnmarshalCaddyfile sets up s from Caddyfile tokens. Syntax:
//
//	store sqlite [<path>]
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if d.NextArg() {
		if s.Path = d.Val(); s.Path == "" {
			return d.Err("the path of the sqlite store is empty")
		}
	}
	return caddyblock.Block{Kind: "sqlite store"}.ReadRest(d)
}

// Interface guards
var (
	_ mailflow.StoreOpener  = (*SQLite)(nil)
	_ caddyfile.Unmarshaler = (*SQLite)(nil)
)
