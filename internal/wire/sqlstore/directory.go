// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Contacts implements [mailflow.ThreadView].
func (v view) Contacts(ctx context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	found := []mailflow.Contact{}
	err := each(ctx, v.q, decodeTo(&found), `SELECT c.data FROM mailbox m JOIN contact c ON c.n = m.contact
		WHERE m.address = ? ORDER BY m.contact`, a.Key())
	if err != nil {
		return nil, fmt.Errorf("looking for contacts: %w", err)
	}
	return found, nil
}

// Followers implements [mailflow.ThreadView]. They are listed by contact.
func (v view) Followers(ctx context.Context, thread string) ([]mailflow.Follower, error) {
	found := []mailflow.Follower{}
	err := each(ctx, v.q, func(rows *sql.Rows) error {
		f := mailflow.Follower{Thread: thread}
		err := rows.Scan(&f.Contact, &f.Notes)
		found = append(found, f)
		return err
	}, `SELECT contact, notes FROM follower WHERE thread = ? ORDER BY contact`, thread)
	if err != nil {
		return nil, fmt.Errorf("listing the followers of thread %s: %w", thread, err)
	}
	return found, nil
}

// Aliases implements [mailflow.ThreadView]. They are listed by address.
func (v view) Aliases(ctx context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	found := []mailflow.Alias{}
	for _, a := range as {
		if a.IsNull() {
			continue
		}
		err := each(ctx, v.q, scanAlias(&found), `SELECT version, data FROM alias WHERE address = ?
			UNION ALL SELECT version, data FROM alias INDEXED BY alias_local WHERE any_domain = 1 AND local = ?`,
			a.Key(), strings.ToLower(a.Local))
		if err != nil {
			return nil, fmt.Errorf("looking for aliases: %w", err)
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Alias) int { return cmp.Compare(a.Address.Key(), b.Address.Key()) })
	return slices.CompactFunc(found, func(a, b mailflow.Alias) bool { return a.Version == b.Version }), nil
}

// scanAlias collects aliases.
func scanAlias(list *[]mailflow.Alias) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var version int64
		var data sql.RawBytes
		if err := rows.Scan(&version, &data); err != nil {
			return err
		}
		a, err := decode[mailflow.Alias](data)
		if err != nil {
			return err
		}
		a.Version = version
		*list = append(*list, *a)
		return nil
	}
}

// Contacts implements [mailflow.ThreadView].
func (s *Store) Contacts(ctx context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().Contacts(ctx, a)
}

// Followers implements [mailflow.ThreadView].
func (s *Store) Followers(ctx context.Context, thread string) ([]mailflow.Follower, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().Followers(ctx, thread)
}

// Aliases implements [mailflow.ThreadView].
func (s *Store) Aliases(ctx context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().Aliases(ctx, as)
}

// PutContact implements [mailflow.Directory].
func (s *Store) PutContact(ctx context.Context, p *mailflow.Contact) error {
	data, err := encodeRow("contact", p.ID, p)
	if err != nil {
		return err
	}
	return s.write(ctx, rowBytes, func(c *change) error {
		_, err := c.exec(`INSERT INTO contact (id, data) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data`,
			p.ID, string(data))
		if err == nil {
			_, err = c.exec(`DELETE FROM mailbox WHERE contact = (SELECT n FROM contact WHERE id = ?)`, p.ID)
		}
		for _, a := range p.Addresses {
			if err == nil {
				_, err = c.exec(`INSERT INTO mailbox (address, contact) SELECT ?, n FROM contact WHERE id = ? ON CONFLICT DO NOTHING`,
					a.Key(), p.ID)
			}
		}
		if err != nil {
			return fmt.Errorf("writing contact %s: %w", p.ID, err)
		}
		return nil
	})
}

// DropContact implements [mailflow.Directory].
func (s *Store) DropContact(ctx context.Context, id string) error {
	return s.write(ctx, rowBytes, func(c *change) error {
		_, err := c.exec(`DELETE FROM mailbox WHERE contact = (SELECT n FROM contact WHERE id = ?)`, id)
		if err == nil {
			_, err = c.exec(`DELETE FROM follower WHERE contact = ?`, id)
		}
		if err == nil {
			err = c.drop(`DELETE FROM contact WHERE id = ?`, id)
		}
		if err != nil {
			return fmt.Errorf("contact %s: %w", id, err)
		}
		return nil
	})
}

// drop deletes a row that must be there.
func (c *change) drop(query string, args ...any) error {
	n, err := c.exec(query, args...)
	if err == nil && n == 0 {
		err = mailflow.ErrNoRecord
	}
	return err
}

// ContactList implements [mailflow.Directory].
func (s *Store) ContactList(ctx context.Context, n int) ([]mailflow.Contact, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	found := []mailflow.Contact{}
	if err := each(ctx, s.readers, decodeTo(&found), `SELECT data FROM contact ORDER BY id LIMIT ?`, limit(n)); err != nil {
		return nil, fmt.Errorf("listing contacts: %w", err)
	}
	return found, nil
}

// PutAlias implements [mailflow.Directory].
func (s *Store) PutAlias(ctx context.Context, a *mailflow.Alias) error {
	kept := *a
	kept.Version = 0 // stands in its column
	key := a.Address.Key()
	data, err := encodeRow("alias", key, &kept)
	if err != nil {
		return err
	}
	return s.write(ctx, rowBytes, func(c *change) error {
		var version int64
		// The old row goes, and the new one gets the next number.
		_, err := c.exec(`INSERT OR REPLACE INTO alias (address, local, any_domain, data) VALUES (?, ?, ?, ?)`,
			key, strings.ToLower(a.Address.Local), a.AnyDomain, string(data))
		if err == nil {
			_, err = one(c.ctx, c, []any{&version}, `SELECT version FROM alias WHERE address = ?`, key)
		}
		if err == nil {
			err = c.putRecord(mailflow.AliasKey(a.Address), version)
		}
		if err != nil {
			return fmt.Errorf("writing alias %s: %w", key, err)
		}
		return nil
	})
}

// DropAlias implements [mailflow.Directory].
func (s *Store) DropAlias(ctx context.Context, a mailflow.Address) error {
	return s.write(ctx, rowBytes, func(c *change) error {
		err := c.drop(`DELETE FROM alias WHERE address = ?`, a.Key())
		if err == nil {
			_, err = c.exec(`DELETE FROM record WHERE key = ?`, []byte(mailflow.AliasKey(a)))
		}
		if err != nil {
			return fmt.Errorf("alias %s: %w", a, err)
		}
		return nil
	})
}

// AliasList implements [mailflow.Directory].
func (s *Store) AliasList(ctx context.Context) ([]mailflow.Alias, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	found := []mailflow.Alias{}
	if err := each(ctx, s.readers, scanAlias(&found), `SELECT version, data FROM alias ORDER BY address`); err != nil {
		return nil, fmt.Errorf("listing aliases: %w", err)
	}
	return found, nil
}

// Follow implements [mailflow.Directory].
func (s *Store) Follow(ctx context.Context, f mailflow.Follower) error {
	return s.write(ctx, rowBytes, func(c *change) error {
		if err := c.mustHaveThread(f.Thread); err != nil {
			return err
		}
		n, err := c.exec(`INSERT OR REPLACE INTO follower (thread, contact, notes) SELECT ?1, ?2, ?3
			WHERE EXISTS (SELECT 1 FROM contact WHERE id = ?2)`, f.Thread, f.Contact, f.Notes)
		if err == nil && n == 0 {
			err = mailflow.ErrNoRecord
		}
		if err != nil {
			return fmt.Errorf("contact %s: %w", f.Contact, err)
		}
		return nil
	})
}

// Unfollow implements [mailflow.Directory].
func (s *Store) Unfollow(ctx context.Context, thread, contact string) error {
	return s.write(ctx, rowBytes, func(c *change) error {
		err := c.drop(`DELETE FROM follower WHERE thread = ? AND contact = ?`, thread, contact)
		if err != nil {
			return fmt.Errorf("follower %s of thread %s: %w", contact, thread, err)
		}
		return nil
	})
}
