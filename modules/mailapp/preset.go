// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
)

// via is what the app looks at in the JSON of a transport.
type via struct {
	Transport  string   `json:"transport"`
	Preset     string   `json:"preset"`
	PresetArgs []string `json:"preset_args"`
}

// applyPreset hands the preset of the server to its transport, or takes over
// the one that the transport names. It returns nil if there is none.
func (o *Outgoing) applyPreset() (*preset.Preset, error) {
	var inner via
	if err := json.Unmarshal(o.ViaRaw, &inner); err != nil {
		return nil, fmt.Errorf("reading via: %w", err)
	}
	o.transport = inner.Transport
	if o.Preset == "" && len(o.PresetArgs) > 0 {
		return nil, errors.New("preset_args stand without a preset")
	}
	name, args := o.Preset, o.PresetArgs
	switch {
	case name == "" && inner.Preset == "":
		return nil, nil
	case name == "":
		name, args = inner.Preset, inner.PresetArgs
	case inner.Preset != "" && (inner.Preset != name || !slices.Equal(inner.PresetArgs, args)):
		return nil, fmt.Errorf("preset %s stands in via already; leave one out", inner.Preset)
	case inner.Transport != "smtp":
		return nil, fmt.Errorf("a preset is for `via smtp`, not for `via %s`", inner.Transport)
	}
	found, err := findPreset(name, args)
	if err != nil || inner.Preset != "" {
		return found, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(o.ViaRaw, &fields); err != nil {
		return nil, fmt.Errorf("reading via: %w", err)
	}
	for key, value := range map[string]any{"preset": name, "preset_args": args} {
		if fields[key], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("writing via: %w", err)
		}
	}
	o.ViaRaw, err = json.Marshal(fields)
	return found, err
}

// findPreset returns the preset, with the placeholders of its arguments
// replaced.
func findPreset(name string, args []string) (*preset.Preset, error) {
	args = slices.Clone(args)
	for i := range args {
		var err error
		if args[i], err = expand(args[i]); err != nil {
			return nil, fmt.Errorf("preset: %w", err)
		}
	}
	found, err := preset.Find(name, args)
	return &found, err
}

// readPreset reads a preset with its arguments.
func (o *Outgoing) readPreset(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	o.Preset, o.PresetArgs = args[0], args[1:]
	if strings.Contains(strings.Join(args, ""), "{") {
		return nil
	}
	if _, err := preset.Find(o.Preset, o.PresetArgs); err != nil {
		return d.Errf("option preset: %w", err)
	}
	return nil
}
