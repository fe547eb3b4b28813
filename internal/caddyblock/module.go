// SPDX-License-Identifier: Apache-2.0

package caddyblock

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Module reads the guest module whose name d stands on, together with its
// arguments and its block, and returns its JSON object with the name under
// inlineKey. The module is any that is registered under namespace; what
// messages call it ("handler") is kind.
func Module(d *caddyfile.Dispenser, namespace, inlineKey, kind string) (json.RawMessage, error) {
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err != nil {
		var known []string
		for _, info := range caddy.GetModules(namespace) {
			known = append(known, info.ID.Name())
		}
		return nil, unrecognized(d, kind, known)
	}
	guest, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(guest, inlineKey, name, nil), nil
}

// Guest reads an option whose one value is a guest module: the module's name
// follows the option's name. See [Module].
func Guest(field *json.RawMessage, namespace, inlineKey, kind string) Option {
	return Func(func(d *caddyfile.Dispenser) (err error) {
		if !d.NextArg() {
			return d.ArgErr()
		}
		*field, err = Module(d, namespace, inlineKey, kind)
		return err
	})
}
