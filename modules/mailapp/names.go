// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
)

// maxName bounds a name in the configuration: it stands in paths, log lines
// and labels of metrics. A domain name is the longest of them.
const maxName = 255

// checkName reports why name cannot be the key of a map: it would not stand in
// a path of the admin API, or in a label, as it is.
func checkName(name string) error {
	if err := checkPlain(name); err != nil {
		return err
	}
	if name == "" || len(name) > maxName || strings.IndexFunc(name, notInName) >= 0 {
		return fmt.Errorf("%q is no name: it takes letters, digits, and the signs . _ -", name)
	}
	return nil
}

// checkPlain refuses a name that is made by a placeholder later.
func checkPlain(name string) error {
	if strings.ContainsAny(name, "{}") {
		return fmt.Errorf("%q: a name cannot wait for its placeholder; "+
			"write {$NAME}, which is replaced when the Caddyfile is read", name)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
}

// put sets m[key], and makes the map if there is none.
func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[key] = value
}

// errNoName is returned for a block that lacks its name.
var errNoName = errors.New("the name is missing")

// readName reads the next argument as a name that is not taken.
func readName[V any](d *caddyfile.Dispenser, taken map[string]V) (string, error) {
	what := d.Val()
	if !d.NextArg() {
		return "", d.WrapErr(fmt.Errorf("%s: %w", what, errNoName))
	}
	name := d.Val()
	if err := checkName(name); err != nil {
		return "", d.Errf("%s: %w", what, err)
	}
	if _, ok := taken[name]; ok {
		return "", d.Errf("%s %s has a block already", what, name)
	}
	return name, nil
}

// ahead looks at the arguments that d will read, and has check refuse one
// while its line is known. Arguments with placeholders have no value yet.
func ahead(d *caddyfile.Dispenser, check func(arg string) error) error {
	peek := *d
	what := peek.Val()
	for peek.NextArg() {
		if strings.ContainsAny(peek.Val(), "{}") {
			continue
		}
		if err := check(peek.Val()); err != nil {
			return peek.Errf("option %s: %w", what, err)
		}
	}
	return nil
}

// oneOf refuses a value that is set and none of the known ones.
func oneOf[T ~string](what string, value T, known ...T) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	if meant := caddyblock.Suggest(string(value), names); meant != "" {
		return fmt.Errorf("%s: %q is none of %q; did you mean %q?", what, value, names, meant)
	}
	return fmt.Errorf("%s: %q is none of %q", what, value, names)
}
