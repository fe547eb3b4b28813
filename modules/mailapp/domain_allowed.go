// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// resolveCompany sets who owns the domain, and where else its aliases count.
func (d *Domain) resolveCompany(resolved *mailflow.Domain) (err error) {
	if resolved.Company, err = expand(d.Company); err == nil {
		err = checkCompany(resolved.Company)
	}
	if err != nil {
		return fmt.Errorf("company: %w", err)
	}
	if d.CompanyAddress != "" {
		if resolved.CompanyAddress, err = mailbox(d.CompanyAddress, resolved.Name); err != nil {
			return fmt.Errorf("company_address: %w", err)
		}
	}
	if resolved.AllowedDomains, err = allowedDomains(d.AllowedDomains); err != nil {
		return fmt.Errorf("allowed_domains: %w", err)
	}
	return nil
}

// checkCompany refuses a name that cannot stand in a header or a text.
func checkCompany(name string) error {
	if len(name) > maxName || strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return fmt.Errorf("%q is no name; it takes at most %d bytes in one line", name, maxName)
	}
	return nil
}

// allowedDomains reads the domains in which the aliases of one are valid too.
// An argument may hold several, with commas.
func allowedDomains(entries []string) ([]string, error) {
	var names []string
	for _, entry := range entries {
		entry, err := expand(entry)
		if err != nil {
			return nil, err
		}
		for name := range strings.SplitSeq(entry, ",") {
			if name = strings.TrimSpace(name); name == everybody {
				names = append(names, name)
				continue
			}
			if name, err = mailflow.NormalizeDomain(name); err != nil {
				return nil, err
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 1 && slices.Contains(names, everybody) {
		return nil, fmt.Errorf("%q allows every domain; leave the others out", everybody)
	}
	return names, nil
}

// readCompany reads the name of the company and its address.
func readCompany(domain *Domain, name string) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		if !d.Args(&domain.Company) {
			return d.ArgErr()
		}
		err := checkCompany(domain.Company)
		if domain.Company == "" {
			err = errors.New("the name is empty")
		}
		if err != nil {
			return d.Errf("option company: %w", err)
		}
		if !d.NextArg() {
			return nil
		}
		domain.CompanyAddress = d.Val()
		if err := isMailbox(name)(d.Val()); err != nil && !strings.ContainsAny(d.Val(), "{}") {
			return d.Errf("option company: %w", err)
		}
		return nil
	})
}

// readAllowedDomains reads domains, which add up.
func readAllowedDomains(field *[]string) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		err := ahead(d, func(arg string) error {
			_, err := allowedDomains([]string{arg})
			return err
		})
		if err != nil {
			return err
		}
		names := d.RemainingArgs()
		if len(names) == 0 {
			return d.ArgErr()
		}
		*field = append(*field, names...)
		if slices.Contains(*field, everybody) && len(*field) > 1 {
			return d.Errf("option allowed_domains: %q allows every domain; leave the others out", everybody)
		}
		return nil
	}).Many()
}
