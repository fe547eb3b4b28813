// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchSize)) }

// MatchSize matches the size of the whole message as it was received. It needs
// the content.
type MatchSize struct {
	// The message has more bytes than this.
	// Default: no bound
	Over int64 `json:"over,omitempty"`

	// The message has fewer bytes than this.
	// Default: no bound
	Under int64 `json:"under,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*MatchSize) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.size", New: func() caddy.Module { return new(MatchSize) }}
}

// Validate checks the bounds.
func (m *MatchSize) Validate() error {
	switch {
	case m.Over < 0 || m.Under < 0:
		return errors.New("a size is not negative")
	case m.Over == 0 && m.Under == 0:
		return errors.New("there is no bound")
	case m.Under > 0 && m.Over >= m.Under-1:
		return errors.New("no size is within the bounds")
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchSize) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	if tx.Message == nil {
		return false, nil
	}
	size := tx.Message.Size()
	return (m.Over == 0 || size > m.Over) && (m.Under == 0 || size < m.Under), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	size [><size>] [<<size>]
//
// ">10MiB" is more than that, "<1MiB" less; with both, both have to hold. The
// sign may stand apart. Sizes are decimal or binary: 500, 10MB, 35MiB.
func (m *MatchSize) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() { // consume directive name
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		for len(args) > 0 {
			bound := args[0]
			args = args[1:]
			if (bound == ">" || bound == "<") && len(args) > 0 {
				bound += args[0]
				args = args[1:]
			}
			if err := m.set(bound); err != nil {
				return d.WrapErr(err)
			}
		}
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}

// set reads one bound.
func (m *MatchSize) set(bound string) error {
	field := &m.Over
	text, ok := strings.CutPrefix(bound, ">")
	if !ok {
		field = &m.Under
		if text, ok = strings.CutPrefix(bound, "<"); !ok {
			return errors.New("a size is compared with > or <, as in \"size >10MiB\"")
		}
	}
	n, err := humanize.ParseBytes(strings.TrimSpace(text))
	switch {
	case err != nil || n == 0 || n > math.MaxInt64:
		return errors.New(bound + " has no size such as 10MiB")
	case *field != 0:
		return errors.New(bound + ": that bound stands twice")
	}
	*field = int64(n)
	return nil
}

var (
	_ caddy.Validator       = (*MatchSize)(nil)
	_ mailflow.Matcher      = (*MatchSize)(nil)
	_ caddyfile.Unmarshaler = (*MatchSize)(nil)
)
