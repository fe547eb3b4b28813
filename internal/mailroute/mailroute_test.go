// SPDX-License-Identifier: Apache-2.0

package mailroute

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(echo))
	caddy.RegisterModule(new(jsonOnly))
	caddy.RegisterModule(new(stranger))
	caddy.RegisterModule(new(word))
	caddy.RegisterModule(new(mute))
}

// echo is a handler that keeps its arguments and may have a route inside.
type echo struct {
	Args  []string `json:"args,omitempty"`
	Steps []Step   `json:"steps,omitempty"`

	defs  *Definitions
	bound mailflow.RouteName
}

func (*echo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.echo", New: func() caddy.Module { return new(echo) }}
}

func (*echo) Handle(context.Context, *mailflow.Transaction, mailflow.Next) error { return nil }

func (h *echo) OnlyIn() mailflow.RouteName { return h.bound }

func (h *echo) Definitions() *Definitions { return h.defs }

func (h *echo) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	h.Args = d.RemainingArgs()
	h.defs = new(Definitions)
	h.Steps, err = ParseSteps(d, h.defs)
	return err
}

// jsonOnly is a handler that no Caddyfile has.
type jsonOnly struct{}

func (*jsonOnly) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.json_only", New: func() caddy.Module { return new(jsonOnly) }}
}

func (*jsonOnly) Handle(context.Context, *mailflow.Transaction, mailflow.Next) error { return nil }

// stranger is in the wrong namespace.
type stranger struct{ jsonOnly }

func (*stranger) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.stranger", New: func() caddy.Module { return new(mute) }}
}

// word is a matcher that keeps its tokens and wants the services.
type word struct {
	Words    []string `json:"words"`
	services *mailflow.Services
}

func (*word) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.word", New: func() caddy.Module { return new(word) }}
}

func (*word) Match(context.Context, *mailflow.Transaction, mailflow.Recipient) (bool, error) {
	return true, nil
}

func (m *word) UseServices(s *mailflow.Services) error {
	m.services = s
	if s.Hostname == "bad" {
		return errBad
	}
	return nil
}

func (m *word) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		m.Words = append(m.Words, d.RemainingArgs()...)
	}
	return nil
}

var errBad = errors.New("bad services")

// mute is a module that is nothing.
type mute struct{}

func (*mute) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.mute", New: func() caddy.Module { return new(mute) }}
}

func (*mute) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// parse reads the lines of a route and gives them back as JSON.
func parse(lines string) (string, *Definitions, error) {
	d := caddyfile.NewTestDispenser("route {\n" + lines + "\n}")
	d.Next()
	defs := new(Definitions)
	steps, err := ParseSteps(d, defs)
	if err == nil {
		err = defs.Check(nil)
	}
	if err != nil {
		return "", nil, err
	}
	raw, err := json.Marshal(steps)
	return string(raw), defs, err
}

func TestParseSteps(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"":                                      `null`,
		"echo":                                  `[{"handle":{"handler":"echo"}}]`,
		"echo a b":                              `[{"handle":{"args":["a","b"],"handler":"echo"}}]`,
		"echo\necho":                            `[{"handle":{"handler":"echo"}},{"handle":{"handler":"echo"}}]`,
		"@x word a\necho @x":                    `[{"match":["x"],"handle":{"handler":"echo"}}]`,
		"echo @x @y a @z\n@x word a\n@y word b": `[{"match":["x","y"],"handle":{"args":["a","@z"],"handler":"echo"}}]`,
		"echo \"@x\" a":                         `[{"handle":{"args":["@x","a"],"handler":"echo"}}]`,
		"echo @x {\necho @y b\n}\n@x word a\n@y word b": `[{"match":["x"],"handle":{"handler":"echo","steps":[{"handle":{"args":["b"],"handler":"echo"},"match":["y"]}]}}]`,
	} {
		got, _, err := parse(lines)
		if err != nil || got != want {
			t.Errorf("%s\ngives %s, %v\nwant  %s", lines, got, err, want)
		}
	}
}

func TestParseDefinitions(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"@x word a b":                     `{"x":{"word":{"words":["a","b"]}}}`,
		"@x {\nword a\nword b\n}":         `{"x":{"word":{"words":["a","b"]}}}`,
		"@x word a\n@y word b":            `{"x":{"word":{"words":["a"]}},"y":{"word":{"words":["b"]}}}`,
		"echo {\n@y word b\n}\n@x word a": `{"x":{"word":{"words":["a"]}},"y":{"word":{"words":["b"]}}}`,
		"echo {\necho {\n@y word b\n}\n}": `{"y":{"word":{"words":["b"]}}}`,
		"echo":                            `null`,
	} {
		_, defs, err := parse(lines)
		if err != nil {
			t.Errorf("%s: %v", lines, err)
			continue
		}
		if got, err := json.Marshal(defs.Sets()); err != nil || string(got) != want {
			t.Errorf("%s\ngives %s, %v\nwant  %s", lines, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"ecco":                            `unrecognized handler "ecco"; did you mean "echo"?, at Testfile:2`,
		"word a":                          `word is a matcher, no handler; define it as a matcher first`,
		"@x echo a":                       `echo is a handler, no matcher; write it as a step of a route`,
		"@x wort a":                       `unrecognized matcher "wort"; did you mean "word"?`,
		"json_only":                       `cannot be written in a Caddyfile`,
		"stranger":                        `module mail.handlers.stranger is no handler`,
		"@x mute":                         `module mail.matchers.mute is no matcher`,
		"@x":                              `@x has no matcher`,
		"@ word a":                        `"@" is no name for a matcher`,
		"@x {\n}":                         `@x has no matcher`,
		"\necho @abc\n@abd word a":        `matcher @abc is not defined; did you mean @abd?, at Testfile:3`,
		"echo {\necho @x\n}":              `matcher @x is not defined, at Testfile:3`,
		"@x word a\n@x word b":            `matcher @x is defined already, at Testfile:2, at Testfile:3`,
		"@x word a\necho {\n@x word b\n}": `matcher @x is defined already, at Testfile:2, at Testfile:4`,
		"@x {\nword a\nnope b\n}":         `unrecognized matcher "nope", at Testfile:4`,
	} {
		got, _, err := parse(lines)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %s, %v\nwant  %s", lines, got, err, want)
		}
	}
}

// load loads steps and matchers from JSON.
func load(t *testing.T, steps, sets string) ([]Loaded, map[string]mailflow.Matcher, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	var ss []Step
	var ms map[string]caddy.ModuleMap
	if err := errors.Join(json.Unmarshal([]byte(steps), &ss), json.Unmarshal([]byte(sets), &ms)); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadSteps(ctx, ss)
	if err != nil {
		return nil, nil, err
	}
	matchers, err := LoadMatchers(ctx, ms)
	return loaded, matchers, err
}

func TestLoad(t *testing.T) {
	t.Parallel()
	loaded, matchers, err := load(t, `[{"match":["x"],"handle":{"handler":"echo","args":["a"]}},{"handle":{"handler":"json_only"}}]`, `{"x":{"word":{"words":["a"]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	s := &mailflow.Services{Matchers: matchers}
	if err := UseServices(s, slices.Collect(maps.Values(matchers))...); err != nil {
		t.Fatal(err)
	}
	if set := matchers["x"].(mailflow.MatcherSet); set[0].(*word).services != s {
		t.Error("the matcher in the set got no services")
	}
	route, err := Compile(s, mailflow.Inbound, loaded)
	if err != nil || len(route) != 2 || route[0].Name != "echo" || len(route[0].Match) != 1 || route[1].Name != "json_only" {
		t.Errorf("route %+v, %v", route, err)
	}
	if err := UseServices(&mailflow.Services{Hostname: "bad"}, matchers["x"]); !errors.Is(err, errBad) {
		t.Errorf("services that are refused give %v", err)
	}
	if _, err := Compile(&mailflow.Services{}, mailflow.Inbound, loaded); err == nil || !strings.Contains(err.Error(), "@x is not defined") {
		t.Errorf("an unknown matcher gives %v", err)
	}
	loaded[0].Handler.(*echo).bound = mailflow.Outbound
	for name, refused := range map[mailflow.RouteName]bool{mailflow.Inbound: true, mailflow.Outbound: false, "": false} {
		if _, err := Compile(s, name, loaded); (err != nil) != refused {
			t.Errorf("an outbound handler in %q: %v", name, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ steps, sets, want string }{
		{`[{}]`, `{}`, "step 1"},
		{`[{"handle":{"handler":"nope"}}]`, `{}`, "step 1: loading module 'nope'"},
		{`[{"handle":{"handler":"echo"}},{"handle":{"handler":"echo","oops":1}}]`, `{}`, "step 2"},
		{`[{"handle":{"handler":"stranger"}}]`, `{}`, "module stranger is no handler"},
		{`[]`, `{"x":{}}`, "loading matcher @x: it has no matchers"},
		{`[]`, `{"x":{"nope":{}}}`, "loading matcher @x: unknown module: mail.matchers.nope"},
		{`[]`, `{"x":{"mute":{}}}`, "module mail.matchers.mute is no matcher"},
	} {
		if _, _, err := load(t, c.steps, c.sets); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s gives %v, want %s", c.steps, c.sets, err, c.want)
		}
	}
}
