// SPDX-License-Identifier: Apache-2.0

package memstore

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

// Contacts implements [mailflow.ThreadView].
func (v view) Contacts(_ context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	found := []mailflow.Contact{}
	for _, c := range v.s.talk.contacts {
		if slices.ContainsFunc(c.Addresses, a.Is) {
			found = append(found, keptContact(&c))
		}
	}
	return found, nil
}

// Followers implements [mailflow.ThreadView]. They are listed by contact.
func (v view) Followers(_ context.Context, thread string) ([]mailflow.Follower, error) {
	found := []mailflow.Follower{}
	for _, f := range v.s.talk.followers {
		if f.Thread == thread {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Follower) int { return cmp.Compare(a.Contact, b.Contact) })
	return found, nil
}

// Aliases implements [mailflow.ThreadView]. They are listed by address.
func (v view) Aliases(_ context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	found := []mailflow.Alias{}
	for _, key := range slices.Sorted(maps.Keys(v.s.talk.aliases)) {
		alias := v.s.talk.aliases[key]
		if slices.ContainsFunc(as, func(a mailflow.Address) bool {
			return a.Is(alias.Address) || alias.AnyDomain && strings.EqualFold(a.Local, alias.Address.Local)
		}) {
			found = append(found, keptAlias(&alias))
		}
	}
	return found, nil
}

// Contacts implements [mailflow.ThreadView].
func (s *Store) Contacts(ctx context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Contact, error) { return v.Contacts(ctx, a) })
}

// Followers implements [mailflow.ThreadView].
func (s *Store) Followers(ctx context.Context, thread string) ([]mailflow.Follower, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Follower, error) { return v.Followers(ctx, thread) })
}

// Aliases implements [mailflow.ThreadView].
func (s *Store) Aliases(ctx context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Alias, error) { return v.Aliases(ctx, as) })
}

// PutContact implements [mailflow.Directory].
func (s *Store) PutContact(ctx context.Context, c *mailflow.Contact) error {
	if c.ID == "" {
		return errors.New("contact without ID")
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if i := s.talk.contact(c.ID); i >= 0 {
		s.talk.contacts[i] = keptContact(c)
	} else {
		s.talk.contacts = append(s.talk.contacts, keptContact(c))
	}
	return nil
}

// DropContact implements [mailflow.Directory].
func (s *Store) DropContact(ctx context.Context, id string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	i := s.talk.contact(id)
	if i < 0 {
		return fmt.Errorf("contact %s: %w", id, mailflow.ErrNoRecord)
	}
	s.talk.contacts = slices.Delete(s.talk.contacts, i, i+1)
	maps.DeleteFunc(s.talk.followers, func(key [2]string, _ mailflow.Follower) bool { return key[1] == id })
	return nil
}

// ContactList implements [mailflow.Directory].
func (s *Store) ContactList(ctx context.Context, n int) ([]mailflow.Contact, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Contact{}
	for _, c := range s.talk.contacts {
		found = append(found, keptContact(&c))
	}
	slices.SortFunc(found, func(a, b mailflow.Contact) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(len(found), limit(n))], nil
}

// PutAlias implements [mailflow.Directory].
func (s *Store) PutAlias(ctx context.Context, a *mailflow.Alias) error {
	if a.Address.IsNull() {
		return errors.New("alias without address")
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.talk.version++
	kept := keptAlias(a)
	kept.Version = s.talk.version
	s.talk.aliases[a.Address.Key()] = kept
	s.records[mailflow.AliasKey(a.Address)] = record{version: kept.Version}
	return nil
}

// DropAlias implements [mailflow.Directory].
func (s *Store) DropAlias(ctx context.Context, a mailflow.Address) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.talk.aliases[a.Key()]; !ok {
		return fmt.Errorf("alias %s: %w", a, mailflow.ErrNoRecord)
	}
	delete(s.talk.aliases, a.Key())
	delete(s.records, mailflow.AliasKey(a))
	return nil
}

// AliasList implements [mailflow.Directory].
func (s *Store) AliasList(ctx context.Context) ([]mailflow.Alias, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Alias{}
	for _, key := range slices.Sorted(maps.Keys(s.talk.aliases)) {
		alias := s.talk.aliases[key]
		found = append(found, keptAlias(&alias))
	}
	return found, nil
}

// Follow implements [mailflow.Directory].
func (s *Store) Follow(ctx context.Context, f mailflow.Follower) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	switch {
	case s.talk.threads[f.Thread] == nil:
		return fmt.Errorf("thread %s: %w", f.Thread, mailflow.ErrNoRecord)
	case s.talk.contact(f.Contact) < 0:
		return fmt.Errorf("contact %s: %w", f.Contact, mailflow.ErrNoRecord)
	}
	s.talk.followers[[2]string{f.Thread, f.Contact}] = f
	return nil
}

// Unfollow implements [mailflow.Directory].
func (s *Store) Unfollow(ctx context.Context, thread, contact string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	key := [2]string{thread, contact}
	if _, ok := s.talk.followers[key]; !ok {
		return fmt.Errorf("follower %s of thread %s: %w", contact, thread, mailflow.ErrNoRecord)
	}
	delete(s.talk.followers, key)
	return nil
}

// keptContact returns a copy of c as it is kept.
func keptContact(c *mailflow.Contact) mailflow.Contact {
	k := *c
	k.Addresses = slices.Clone(c.Addresses)
	return k
}

// keptAlias returns a copy of a as it is kept.
func keptAlias(a *mailflow.Alias) mailflow.Alias {
	k := *a
	k.Set = maps.Clone(a.Set)
	return k
}
