// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Knock finds out whether a mail server answers: it looks the host up,
// connects, reads the greeting, starts TLS as cfg says, says EHLO and
// good-bye. It logs in nowhere and names nobody. The steps are those that it
// went, with what came back; the error is that of the last one, a
// [StageError], or nil.
func Knock(ctx context.Context, cfg Config) ([]mailflow.TestStep, error) {
	cfg.Login = nil
	p := &probe{cfg: cfg.withDefaults()}
	c, err := open(ctx, p.cfg, p.step)
	if c != nil {
		c.Quit()
	}
	return p.report.Steps, err
}
