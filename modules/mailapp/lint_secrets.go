// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// secretOptions are the options whose value nobody else should see.
var secretOptions = []string{"password", "secret", "token", "refresh_token", "private_key"}

// secretsInClear returns the names of the secret options in a module's JSON
// whose value is written out instead of a placeholder.
func secretsInClear(raw json.RawMessage) []string {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil // loading it will say so
	}
	return clearIn(value)
}

func clearIn(value any) []string {
	var names []string
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			names = append(names, clearIn(element)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[key].(string)
			if ok && text != "" && slices.Contains(secretOptions, key) && !strings.Contains(text, "{") {
				names = append(names, key)
			}
			names = append(names, clearIn(v[key])...)
		}
	}
	return names
}

// lintSecrets looks for secrets that stand in the configuration.
func (a *App) lintSecrets() []finding {
	const (
		message = "a secret stands in the configuration in clear text"
		step    = "write {env.NAME} or {file./run/secrets/NAME} in its place, and give it a new value"
	)
	var all []finding
	for _, name := range slices.Sorted(maps.Keys(a.Outgoing)) {
		for _, option := range a.Outgoing[name].inClear {
			all = append(all, found(message, step, zap.String("outgoing", name), zap.String("option", option)))
		}
	}
	for _, option := range a.storeInClear {
		all = append(all, found(message, step, zap.String("option", "store "+option)))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Domains)) {
		if a.Domains[name] == nil {
			continue
		}
		for _, k := range a.Domains[name].DKIM {
			if k.inline() {
				all = append(all, found(message, step, zap.String("domain", name), zap.String("option", "dkim "+k.Selector)))
			}
		}
	}
	return all
}
