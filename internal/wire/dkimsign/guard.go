// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"context"
	"errors"
	"fmt"
)

// maxEmptyLines bounds the empty lines in a row: a signature keeps them in
// memory until text follows. No mail that people write has this many.
const maxEmptyLines = 1 << 18

// errLineEnd is returned for a CR or LF that is not part of a CRLF: verifiers
// disagree on where such a line ends.
var errLineEnd = errors.New("the message has a CR or LF alone, which cannot be sent")

// guard takes a message in pieces and refuses what must not be signed.
type guard struct {
	ctx   context.Context // of the one Sign that it is made for
	cr    bool            // the last byte is a CR
	lines int             // line ends since the last text
}

// Write takes more of the message.
func (g *guard) Write(p []byte) (int, error) {
	for _, c := range p {
		if (c == '\n') != g.cr {
			return 0, errLineEnd
		}
		g.cr = c == '\r'
		switch c {
		case '\n':
			if g.lines++; g.lines > maxEmptyLines {
				return 0, fmt.Errorf("the message has more than %d empty lines in a row", maxEmptyLines)
			}
		case '\r', ' ', '\t':
		default:
			g.lines = 0
		}
	}
	return len(p), g.ctx.Err()
}

// end ends the message.
func (g *guard) end() error {
	if g.cr {
		return errLineEnd
	}
	return g.ctx.Err()
}
