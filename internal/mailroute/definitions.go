// SPDX-License-Identifier: Apache-2.0

package mailroute

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Definitions collects the named matchers of a Caddyfile, and where matchers
// are used. The zero Definitions is empty.
type Definitions struct {
	sets map[string]caddy.ModuleMap
	at   map[string]caddyfile.Token // where each was defined
	uses []caddyfile.Token          // the "@name" tokens behind handlers
}

// Parse reads one definition; d stands on its "@name". The matchers follow on
// the same line or in a block. A name that is defined already is refused.
func (m *Definitions) Parse(d *caddyfile.Dispenser) error {
	token := d.Token()
	name, set, err := ParseMatcher(d)
	if err != nil {
		return err
	}
	return m.add(name, set, token)
}

// IsDefinition reports whether d stands on the "@name" of a definition.
func IsDefinition(d *caddyfile.Dispenser) bool { return isMatcherToken(d.Token()) }

func isMatcherToken(t caddyfile.Token) bool { return strings.HasPrefix(t.Text, "@") && !t.Quoted() }

// Merge takes over what a nested block collected.
func (m *Definitions) Merge(nested *Definitions) error {
	m.uses = append(m.uses, nested.uses...)
	for _, name := range slices.Sorted(maps.Keys(nested.sets)) {
		if err := m.add(name, nested.sets[name], nested.at[name]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Definitions) add(name string, set caddy.ModuleMap, token caddyfile.Token) error {
	if first, ok := m.at[name]; ok {
		return at(token).Errf("matcher @%s is defined already, at %s:%d", name, first.File, first.Line)
	}
	if m.sets == nil {
		m.sets, m.at = make(map[string]caddy.ModuleMap), make(map[string]caddyfile.Token)
	}
	m.sets[name], m.at[name] = set, token
	return nil
}

// Use notes that the "@name" tokens were used; the app calls it for options of
// its own that take matchers.
func (m *Definitions) Use(tokens ...caddyfile.Token) { m.uses = append(m.uses, tokens...) }

// Check refuses the use of a matcher that is defined neither here nor among
// earlier ones. It is called when everything is read, since a matcher may be
// defined after its use.
func (m *Definitions) Check(earlier map[string]caddy.ModuleMap) error {
	known := slices.AppendSeq(slices.Collect(maps.Keys(m.sets)), maps.Keys(earlier))
	for _, token := range m.uses {
		name := strings.TrimPrefix(token.Text, "@")
		if slices.Contains(known, name) {
			continue
		}
		if meant := caddyblock.Suggest(name, known); meant != "" {
			return at(token).Errf("matcher @%s is not defined; did you mean @%s?", name, meant)
		}
		return at(token).Errf("matcher @%s is not defined", name)
	}
	return nil
}

// Sets returns the definitions as the app's JSON has them: sets of matcher
// modules by name. It is nil if there are none.
func (m *Definitions) Sets() map[string]caddy.ModuleMap { return m.sets }

// at returns a dispenser that stands on token, for errors with its position.
func at(token caddyfile.Token) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser([]caddyfile.Token{token})
	d.Next()
	return d
}

// ParseMatcher reads a definition; d stands on its "@name". It returns the
// name without its "@", and the matchers that all must hold.
func ParseMatcher(d *caddyfile.Dispenser) (string, caddy.ModuleMap, error) {
	name := strings.TrimPrefix(d.Val(), "@")
	if name == "" || strings.ContainsAny(name, "/@") {
		return "", nil, d.Errf("%q is no name for a matcher", d.Val())
	}
	set, err := ParseMatcherSet(d)
	if err != nil {
		return "", nil, err
	}
	return name, set, nil
}

// ParseMatcherSet reads the matchers that follow the word d stands on: one on
// the same line, or a block with one on each line. A matcher that stands twice
// in a block gets the tokens of both.
func ParseMatcherSet(d *caddyfile.Dispenser) (caddy.ModuleMap, error) {
	word := d.Val()
	segments := make(map[string][]caddyfile.Token)
	if d.NextArg() {
		addSegment(d, segments)
	} else {
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			addSegment(d, segments)
		}
	}
	if len(segments) == 0 {
		return nil, d.Errf("%s has no matcher", word)
	}
	set := make(caddy.ModuleMap)
	for _, name := range slices.Sorted(maps.Keys(segments)) {
		raw, err := matcherModule(name, segments[name])
		if err != nil {
			return nil, err
		}
		set[name] = raw
	}
	return set, nil
}

// addSegment takes the matcher that d stands on. A quoted word is an
// expression.
func addSegment(d *caddyfile.Dispenser, segments map[string][]caddyfile.Token) {
	if token := d.Token(); token.Quoted() {
		word := token.Clone()
		word.Text = "expression"
		segments["expression"] = append(segments["expression"], word, token)
		return
	}
	name := d.Val()
	segments[name] = append(segments[name], d.NextSegment()...)
}

// matcherModule reads a matcher from its tokens.
func matcherModule(name string, tokens []caddyfile.Token) (json.RawMessage, error) {
	info, err := moduleInfo(at(tokens[0]), "matcher", name)
	if err != nil {
		return nil, err
	}
	unm, ok := info.New().(caddyfile.Unmarshaler)
	if !ok {
		return nil, at(tokens[0]).Errf("matcher %s cannot be written in a Caddyfile, only in JSON", name)
	}
	if err := unm.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	if _, ok := unm.(mailflow.Matcher); !ok {
		return nil, at(tokens[0]).Errf("module %s is no matcher", info.ID)
	}
	raw, err := json.Marshal(unm)
	if err != nil {
		return nil, at(tokens[0]).Errf("writing matcher %s as JSON: %w", name, err)
	}
	return raw, nil
}

// moduleInfo returns the module of that kind and name; d stands on the name.
func moduleInfo(d *caddyfile.Dispenser, kind, name string) (caddy.ModuleInfo, error) {
	info, err := caddy.GetModule("mail." + kind + "s." + name)
	if err == nil {
		return info, nil
	}
	other := map[string]string{"handler": "matcher", "matcher": "handler"}[kind]
	if _, err := caddy.GetModule("mail." + other + "s." + name); err == nil {
		hint := "define it as a matcher first, as in \"@name " + name + " …\", and write @name behind a handler"
		if kind == "matcher" {
			hint = "write it as a step of a route"
		}
		return info, d.Errf("%s is a %s, no %s; %s", name, other, kind, hint)
	}
	var known []string
	for _, m := range caddy.GetModules("mail." + kind + "s") {
		known = append(known, m.ID.Name())
	}
	if meant := caddyblock.Suggest(name, known); meant != "" {
		return info, d.Errf("unrecognized %s %q; did you mean %q?", kind, name, meant)
	}
	return info, d.Errf("unrecognized %s %q", kind, name)
}
