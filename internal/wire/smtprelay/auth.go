// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// auth logs in (RFC 4954). The error is a [StageError] and never shows the
// password or the token.
func (c *Conn) auth(ctx context.Context, l *Login) error {
	if c.state == nil && !c.loopback {
		return broken(StageAuth, ErrClearPassword)
	}
	if l.Token != nil {
		return c.authToken(ctx, l)
	}
	if !slices.Contains(c.ext.Auth, l.Mechanism) {
		return broken(StageAuth, fmt.Errorf("%w: %s, it offers %q", ErrMechanism, l.Mechanism, c.ext.Auth))
	}
	var lines []string
	switch l.Mechanism {
	case "PLAIN":
		lines = []string{"AUTH PLAIN " + encode("\x00"+l.User+"\x00"+l.Password)}
	case "LOGIN":
		// The user's name is not sent with the command: some servers do not
		// take it there. What they ask for is always in this order.
		lines = []string{"AUTH LOGIN", encode(l.User), encode(l.Password)}
	default:
		return broken(StageAuth, fmt.Errorf("%w: %s", ErrMechanism, l.Mechanism))
	}
	for i, line := range lines {
		rep, err := c.command(c.cfg.Timeouts.Command, line)
		switch {
		case err != nil:
			return broken(StageAuth, err)
		case rep.code == 235:
			return nil
		case rep.code != 334 || i == len(lines)-1:
			return refused(StageAuth, rep)
		}
	}
	return nil
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// checkWord returns whether s may stand in a command as one word.
func checkWord(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) < 0
}
