// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// parseLimits reads limits, at most one for each period.
func parseLimits(texts []string) ([]mailflow.Limit, error) {
	var limits []mailflow.Limit
	for _, text := range texts {
		text, err := expand(text)
		if err != nil {
			return nil, fmt.Errorf("limit: %w", err)
		}
		l, err := mailflow.ParseLimit(text)
		if err != nil {
			return nil, fmt.Errorf("limit: %w", err)
		}
		for _, other := range limits {
			if other.Per == l.Per {
				return nil, fmt.Errorf("limit: %s and %s are for the same period; leave one out", other, l)
			}
		}
		limits = append(limits, l)
	}
	return limits, nil
}

// readLimits reads limits, which add up.
func readLimits(field *[]string) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		err := ahead(d, func(arg string) error {
			_, err := mailflow.ParseLimit(arg)
			return err
		})
		if err != nil {
			return err
		}
		texts := d.RemainingArgs()
		if len(texts) == 0 {
			return d.ArgErr()
		}
		*field = append(*field, texts...)
		return nil
	}).Many()
}
