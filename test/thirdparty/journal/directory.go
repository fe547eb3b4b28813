// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Contacts implements mailflow.ThreadView.
func (v view) Contacts(_ context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	found := []mailflow.Contact{}
	for _, c := range v.s.contacts {
		if slices.ContainsFunc(c.Addresses, a.Is) {
			found = append(found, copyOfContact(&c))
		}
	}
	return found, nil
}

// Followers implements mailflow.ThreadView. They are listed by contact.
func (v view) Followers(_ context.Context, thread string) ([]mailflow.Follower, error) {
	found := []mailflow.Follower{}
	for _, f := range v.s.followers {
		if f.Thread == thread {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Follower) int { return cmp.Compare(a.Contact, b.Contact) })
	return found, nil
}

// Aliases implements mailflow.ThreadView. They are listed by address.
func (v view) Aliases(_ context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	found := []mailflow.Alias{}
	for _, key := range slices.Sorted(maps.Keys(v.s.aliases)) {
		alias := v.s.aliases[key]
		if slices.ContainsFunc(as, func(a mailflow.Address) bool {
			return a.Is(alias.Address) || alias.AnyDomain && strings.EqualFold(a.Local, alias.Address.Local)
		}) {
			found = append(found, copyOfAlias(&alias))
		}
	}
	return found, nil
}

// Contacts implements mailflow.ThreadView.
func (s *store) Contacts(ctx context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Contact, error) { return v.Contacts(ctx, a) })
}

// Followers implements mailflow.ThreadView.
func (s *store) Followers(ctx context.Context, thread string) ([]mailflow.Follower, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Follower, error) { return v.Followers(ctx, thread) })
}

// Aliases implements mailflow.ThreadView.
func (s *store) Aliases(ctx context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Alias, error) { return v.Aliases(ctx, as) })
}

// PutContact implements mailflow.Directory.
func (s *store) PutContact(ctx context.Context, c *mailflow.Contact) error {
	if c.ID == "" {
		return errors.New("contact without ID")
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.write([]change{{Contact: c}})
}

// DropContact implements mailflow.Directory.
func (s *store) DropContact(ctx context.Context, id string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	i := s.contact(id)
	if i < 0 {
		return fmt.Errorf("contact %s: %w", id, mailflow.ErrNoRecord)
	}
	return s.write([]change{{Contact: &s.contacts[i], Gone: true}})
}

// ContactList implements mailflow.Directory.
func (s *store) ContactList(ctx context.Context, n int) ([]mailflow.Contact, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Contact{}
	for _, c := range s.contacts {
		found = append(found, copyOfContact(&c))
	}
	slices.SortFunc(found, func(a, b mailflow.Contact) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(len(found), limit(n))], nil
}

// PutAlias implements mailflow.Directory.
func (s *store) PutAlias(ctx context.Context, a *mailflow.Alias) error {
	if a.Address.IsNull() {
		return errors.New("alias without address")
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	kept := *a
	kept.Version = s.version + 1
	key := []byte(mailflow.AliasKey(a.Address))
	return s.write([]change{{Alias: &kept}, {Record: &record{Key: key, Version: kept.Version}}})
}

// DropAlias implements mailflow.Directory.
func (s *store) DropAlias(ctx context.Context, a mailflow.Address) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	alias, ok := s.aliases[a.Key()]
	if !ok {
		return fmt.Errorf("alias %s: %w", a, mailflow.ErrNoRecord)
	}
	return s.write([]change{
		{Alias: &alias, Gone: true}, {Record: &record{Key: []byte(mailflow.AliasKey(a))}, Gone: true},
	})
}

// AliasList implements mailflow.Directory.
func (s *store) AliasList(ctx context.Context) ([]mailflow.Alias, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Alias{}
	for _, key := range slices.Sorted(maps.Keys(s.aliases)) {
		alias := s.aliases[key]
		found = append(found, copyOfAlias(&alias))
	}
	return found, nil
}

// Follow implements mailflow.Directory.
func (s *store) Follow(ctx context.Context, f mailflow.Follower) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	switch {
	case s.threads[f.Thread] == nil:
		return fmt.Errorf("thread %s: %w", f.Thread, mailflow.ErrNoRecord)
	case s.contact(f.Contact) < 0:
		return fmt.Errorf("contact %s: %w", f.Contact, mailflow.ErrNoRecord)
	}
	return s.write([]change{{Follower: &f}})
}

// Unfollow implements mailflow.Directory.
func (s *store) Unfollow(ctx context.Context, thread, contact string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	key := [2]string{thread, contact}
	f, ok := s.followers[key]
	if !ok {
		return fmt.Errorf("follower %s of thread %s: %w", contact, thread, mailflow.ErrNoRecord)
	}
	return s.write([]change{{Follower: &f, Gone: true}})
}

// copyOfContact returns a copy of c as it is kept.
func copyOfContact(c *mailflow.Contact) mailflow.Contact {
	k := *c
	k.Addresses = slices.Clone(c.Addresses)
	return k
}

// copyOfAlias returns a copy of a as it is kept.
func copyOfAlias(a *mailflow.Alias) mailflow.Alias {
	k := *a
	k.Set = maps.Clone(a.Set)
	return k
}
