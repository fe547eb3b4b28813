// SPDX-License-Identifier: Apache-2.0

// Package routing has the handlers and matchers of routes: mail.handlers.*
// and mail.matchers.*, each in a file of its name.
//
// A handler decides and changes nothing, see [mailflow.Handler]. A matcher
// answers for one recipient of a transaction. One that needs the content
// answers false at RCPT, where there is none; so does "not" round such a one.
//
// Texts may have placeholders ({env.X}, {file./path}), which are replaced when
// the configuration is loaded; one that is unknown refuses it.
package routing

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// expand replaces the placeholders in the texts.
func expand(texts ...*string) error {
	repl := caddy.NewReplacer()
	for _, text := range texts {
		s, err := repl.ReplaceOrErr(*text, true, true)
		if err != nil {
			return fmt.Errorf("replacing placeholders in %q: %w", *text, err)
		}
		*text = s
	}
	return nil
}

// expandAll returns the texts with their placeholders replaced.
func expandAll(texts []string) ([]string, error) {
	out := make([]string, len(texts))
	for i := range texts {
		out[i] = texts[i]
		if err := expand(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// text reads the remaining arguments as one text; d stands before the
// directive's name. It reads nothing else: no argument gives "".
func text(d *caddyfile.Dispenser) (string, error) {
	d.Next() // consume directive name
	s := strings.Join(d.RemainingArgs(), " ")
	return s, noBlock(d)
}

// words reads one or more arguments, also of further lines of the same
// directive; d stands before its name.
func words(d *caddyfile.Dispenser) ([]string, error) {
	var all []string
	for d.Next() { // consume directive name
		args := d.RemainingArgs()
		if len(args) == 0 {
			return nil, d.ArgErr()
		}
		all = append(all, args...)
		if err := noBlock(d); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// bare reads a directive that has neither arguments nor a block; d stands
// before its name.
func bare(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d)
}

// noBlock refuses a block after the arguments.
func noBlock(d *caddyfile.Dispenser) error {
	if d.NextBlock(0) {
		return d.Errf("unexpected block")
	}
	return nil
}
