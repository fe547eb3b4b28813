// SPDX-License-Identifier: Apache-2.0

package mailroute

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Step is one step of a route in the configuration.
type Step struct {
	// Names of matchers, without their "@". One of them has to hold.
	// Default: the step is always taken.
	Match []string `json:"match,omitempty"`

	// The handler.
	HandleRaw json.RawMessage `json:"handle" caddy:"namespace=mail.handlers inline_key=handler"`
}

// Definer is a handler whose Caddyfile block may define matchers.
type Definer interface {
	// Definitions returns what UnmarshalCaddyfile collected; nil for nothing.
	Definitions() *Definitions
}

// ParseSteps reads the block of a route; d stands on the word that opens it,
// or on the last argument before the block. What the block defines and uses of
// matchers goes to defs, also out of the blocks of handlers that are
// [Definer]s.
func ParseSteps(d *caddyfile.Dispenser, defs *Definitions) ([]Step, error) {
	var steps []Step
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if IsDefinition(d) {
			if err := defs.Parse(d); err != nil {
				return nil, err
			}
			continue
		}
		step, err := parseStep(d, defs)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// parseStep reads the step that d stands on.
func parseStep(d *caddyfile.Dispenser, defs *Definitions) (Step, error) {
	name := d.Val()
	info, err := moduleInfo(d, "handler", name)
	if err != nil {
		return Step{}, err
	}
	unm, ok := info.New().(caddyfile.Unmarshaler)
	if !ok {
		return Step{}, d.Errf("handler %s cannot be written in a Caddyfile, only in JSON", name)
	}
	if _, ok := unm.(mailflow.Handler); !ok {
		return Step{}, d.Errf("module %s is no handler", info.ID)
	}
	var step Step
	segment := d.NextSegment()
	tokens := []caddyfile.Token{segment[0]}
	rest := segment[1:]
	for len(rest) > 0 && isMatcherToken(rest[0]) {
		step.Match = append(step.Match, rest[0].Text[1:])
		defs.Use(rest[0])
		rest = rest[1:]
	}
	if err := unm.UnmarshalCaddyfile(caddyfile.NewDispenser(append(tokens, rest...))); err != nil {
		return Step{}, err
	}
	if definer, ok := unm.(Definer); ok {
		if nested := definer.Definitions(); nested != nil {
			if err := defs.Merge(nested); err != nil {
				return Step{}, err
			}
		}
	}
	step.HandleRaw = caddyconfig.JSONModuleObject(unm, "handler", name, nil)
	return step, nil
}
