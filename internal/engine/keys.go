// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/rule/token"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// keysName is the value under which a store keeps the keys of its tokens.
const keysName = "token-keys"

// maxKeyRaces bounds how often the keys are read again because another process
// has written them meanwhile.
const maxKeyRaces = 5

// tokenKeys returns the keys that tokens are signed with. A store never is
// open without.
func (s *openStore) tokenKeys() token.Keys { return *s.keys.Load() }

// refreshKeys reads the keys from the store, and makes the first one or the
// next one when it is time.
func (s *openStore) refreshKeys(ctx context.Context, now time.Time) error {
	for range maxKeyRaces {
		keys, version, err := s.readKeys(ctx)
		if err != nil {
			return err
		}
		keys, made := keys.Rotate(now)
		if made {
			raw, err := json.Marshal(keys) //nolint:gosec // kept in the store, as they are meant to be
			if err != nil {
				return fmt.Errorf("writing the keys of tokens: %w", err)
			}
			err = s.SetValue(ctx, keysName, raw, version)
			if errors.Is(err, mailflow.ErrStale) {
				continue
			}
			if err != nil {
				return fmt.Errorf("writing the keys of tokens: %w", err)
			}
		}
		s.keys.Store(&keys)
		return nil
	}
	return fmt.Errorf("writing the keys of tokens: %w", mailflow.ErrStale)
}

func (s *openStore) readKeys(ctx context.Context) (keys token.Keys, version int64, err error) {
	raw, version, err := s.Value(ctx, keysName)
	if errors.Is(err, mailflow.ErrNoRecord) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the keys of tokens: %w", err)
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, 0, fmt.Errorf("reading the keys of tokens: %w", err)
	}
	return keys, version, nil
}

// sign returns the token of that kind for id. A configuration that is looked
// at without its store has no keys: then the ID stands for itself.
func (g *Generation) sign(kind mailflow.TokenKind, id string) string {
	if g.store == nil {
		return id
	}
	return g.store.tokenKeys().Sign(kind, id)
}
