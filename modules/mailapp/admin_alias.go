// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// aliasEntry is an alias as the admin API and the commands show it.
type aliasEntry struct {
	mailflow.Alias

	// Source is where it stands: one in the configuration is changed there.
	Source aliasSource `json:"source"`
	// Hidden is set for one in the store whose address the configuration has
	// too: it does not count.
	Hidden bool `json:"hidden,omitempty"`
	// Warnings say what is perhaps not meant.
	Warnings []string `json:"warnings,omitempty"`
}

// aliasSource is where an alias stands.
type aliasSource string

// The sources.
const (
	sourceConfig aliasSource = "config"
	sourceStore  aliasSource = "store"
)

// aliasRecord is what can be set of an alias. What is shown of one can be sent
// back: the rest is read and left.
type aliasRecord struct {
	Alias

	Address  string      `json:"address"`
	Source   aliasSource `json:"source"`
	Version  int64       `json:"version"`
	Hidden   bool        `json:"hidden"`
	Warnings []string    `json:"warnings"`
}

// configured returns the alias of the configuration with that address, or nil.
func (a *Admin) configured(addr mailflow.Address) *mailflow.Alias {
	services := a.services()
	if services == nil {
		return nil
	}
	i := slices.IndexFunc(services.Aliases, func(al mailflow.Alias) bool { return al.Address.Is(addr) })
	if i < 0 {
		return nil
	}
	return &services.Aliases[i]
}

// aliasEntry returns an alias of the store as it is shown.
func (a *Admin) aliasEntry(al *mailflow.Alias) aliasEntry {
	e := aliasEntry{Alias: *al, Source: sourceStore, Hidden: a.configured(al.Address) != nil}
	if services := a.services(); services != nil {
		e.Warnings = sentences(lintAlias(services.Domains, al))
	}
	return e
}

// pathAddress returns the address in the request's path.
func pathAddress(r *http.Request) (mailflow.Address, error) {
	addr, err := aliasAddress(r.PathValue("address"))
	if err != nil {
		return mailflow.Address{}, apiError(http.StatusBadRequest, "alias: %w", err)
	}
	return addr, nil
}

// listAliases answers GET /mail/aliases.
func (a *Admin) listAliases(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	stored, err := store.AliasList(r.Context())
	if err != nil {
		return refusal(fmt.Errorf("listing the aliases: %w", err))
	}
	entries := make([]aliasEntry, 0, len(stored))
	if services := a.services(); services != nil {
		for _, al := range services.Aliases {
			entries = append(entries, aliasEntry{Alias: al, Source: sourceConfig})
		}
	}
	for i := range stored {
		entries = append(entries, a.aliasEntry(&stored[i]))
	}
	slices.SortStableFunc(entries, func(a, b aliasEntry) int { return cmp.Compare(a.Address.Key(), b.Address.Key()) })
	return reply(w, http.StatusOK, entries)
}

// storedAlias returns the alias of the store with that address. Error:
// [mailflow.ErrNoRecord].
func storedAlias(ctx context.Context, s mailflow.Store, addr mailflow.Address) (*mailflow.Alias, error) {
	found, err := s.Aliases(ctx, []mailflow.Address{addr})
	if err != nil {
		return nil, fmt.Errorf("looking for alias %s: %w", addr, err)
	}
	i := slices.IndexFunc(found, func(al mailflow.Alias) bool { return al.Address.Is(addr) })
	if i < 0 {
		return nil, fmt.Errorf("alias %s: %w", addr, mailflow.ErrNoRecord)
	}
	return &found[i], nil
}

// showAlias answers GET /mail/aliases/ADDRESS.
func (a *Admin) showAlias(w http.ResponseWriter, r *http.Request) error {
	addr, err := pathAddress(r)
	if err != nil {
		return err
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	if al := a.configured(addr); al != nil {
		return reply(w, http.StatusOK, aliasEntry{Alias: *al, Source: sourceConfig})
	}
	al, err := storedAlias(r.Context(), store, addr)
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, a.aliasEntry(al))
}

// changeable returns the store and the address that a request is to change.
func (a *Admin) changeable(r *http.Request) (mailflow.Store, mailflow.Address, error) {
	addr, err := pathAddress(r)
	if err != nil {
		return nil, mailflow.Address{}, err
	}
	_, store, err := a.store()
	if err != nil {
		return nil, mailflow.Address{}, err
	}
	if a.configured(addr) != nil {
		return nil, mailflow.Address{}, apiError(http.StatusConflict,
			"alias %s stands in the configuration; change it there, or with PATCH /config/apps/mail/aliases/%[1]s", addr)
	}
	return store, addr, nil
}

// putAlias answers PUT /mail/aliases/ADDRESS with the alias as it then is.
func (a *Admin) putAlias(w http.ResponseWriter, r *http.Request) error {
	store, addr, err := a.changeable(r)
	if err != nil {
		return err
	}
	return a.setAlias(w, r, store, addr, Alias{})
}

// patchAlias answers PATCH /mail/aliases/ADDRESS: what the request does not
// name stays as it is, of an alias that there is.
func (a *Admin) patchAlias(w http.ResponseWriter, r *http.Request) error {
	store, addr, err := a.changeable(r)
	if err != nil {
		return err
	}
	old, err := storedAlias(r.Context(), store, addr)
	if err = orNew(&old, err); err != nil {
		return refusal(err)
	}
	return a.setAlias(w, r, store, addr, optionsOf(old))
}

// setAlias writes the alias that the request makes of old.
func (a *Admin) setAlias(w http.ResponseWriter, r *http.Request, store mailflow.Store, addr mailflow.Address, old Alias) error {
	record := aliasRecord{Alias: old}
	record.Set = nil // a new set takes the place of the old one
	if err := readRecord(w, r, &record); err != nil {
		return err
	}
	if record.Set == nil {
		record.Set = old.Set
	}
	if record.Address != "" {
		if named, err := aliasAddress(record.Address); err != nil || !named.Is(addr) {
			return apiError(http.StatusBadRequest, "the path is that of %s, the body names %s", addr, record.Address)
		}
	}
	al, err := record.at(addr)
	if err != nil {
		return apiError(http.StatusBadRequest, "alias %s: %w", addr, err)
	}
	if err := store.PutAlias(r.Context(), &al); err != nil {
		return refusal(fmt.Errorf("keeping alias %s: %w", addr, err))
	}
	kept, err := storedAlias(r.Context(), store, addr)
	if err != nil {
		return refusal(err)
	}
	e := a.aliasEntry(kept)
	for _, id := range []string{kept.Thread, kept.Parent} {
		if id == "" {
			continue
		}
		_, err := thread(r.Context(), store, id)
		if errors.Is(err, mailflow.ErrNoRecord) {
			e.Warnings = append(e.Warnings, "there is no thread "+id+"; `mail thread list` shows those that there are")
		} else if err != nil {
			return refusal(err)
		}
	}
	return reply(w, http.StatusOK, e)
}

// dropAlias answers DELETE /mail/aliases/ADDRESS with the alias as it was.
func (a *Admin) dropAlias(w http.ResponseWriter, r *http.Request) error {
	addr, err := pathAddress(r)
	if err != nil {
		return err
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	// One that the configuration hides can go.
	al, err := storedAlias(r.Context(), store, addr)
	if err != nil {
		if _, _, conflict := a.changeable(r); conflict != nil {
			return conflict
		}
		return refusal(err)
	}
	if err := store.DropAlias(r.Context(), addr); err != nil {
		return refusal(fmt.Errorf("removing alias %s: %w", addr, err))
	}
	return reply(w, http.StatusOK, a.aliasEntry(al))
}
