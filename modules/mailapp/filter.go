// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
)

// everybody is the filter entry that allows every sender.
const everybody = "*"

// parseSenders reads the entries of a sender filter as they are written.
type parseSenders func(entries []string) error

// someSenders is for filters that cannot say [everybody]: they are left out
// instead.
func someSenders(entries []string) error {
	_, err := relay.ParseFilter(entries)
	return err
}

// anySender is for filters whose absence says something else, so that
// [everybody] may stand alone.
func anySender(entries []string) error {
	switch {
	case !slices.Contains(entries, everybody):
		return someSenders(entries)
	case len(entries) > 1:
		return fmt.Errorf("%q allows every sender; leave the others out", everybody)
	}
	return nil
}

// resolveFilter replaces the placeholders of a filter's entries. Without
// entries there is none.
func resolveFilter(entries []string, parse parseSenders) ([]string, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	filter := make([]string, len(entries))
	for i, entry := range entries {
		var err error
		if filter[i], err = expand(entry); err != nil {
			return nil, err
		}
	}
	return filter, parse(filter)
}

// readFilter reads the entries of a filter, which add up.
func readFilter(field *[]string, parse parseSenders) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		err := ahead(d, func(arg string) error { return parse([]string{arg}) })
		if err != nil {
			return err
		}
		what := d.Val()
		entries := d.RemainingArgs()
		if len(entries) == 0 {
			return d.ArgErr()
		}
		*field = append(*field, entries...)
		if slices.Contains(*field, everybody) {
			if err := parse(*field); err != nil {
				return d.Errf("option %s: %w", what, err)
			}
		}
		return nil
	}).Many()
}
