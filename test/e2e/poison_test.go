// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func init() {
	caddy.RegisterModule(new(poisonHandler))
	caddy.RegisterModule(new(poisonTransport))
}

// poisonHandler panics over a message with a field X-Poison.
type poisonHandler struct{}

func (*poisonHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.poison", New: func() caddy.Module { return new(poisonHandler) }}
}

func (*poisonHandler) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Message != nil && tx.Message.Header.Has("X-Poison") {
		panic("poisoned handler")
	}
	return next(ctx, tx)
}

func (*poisonHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// poisonTransport panics over every message.
type poisonTransport struct{}

func (*poisonTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.poison", New: func() caddy.Module { return new(poisonTransport) }}
}

func (*poisonTransport) Deliver(context.Context, *mailflow.Attempt) ([]mailflow.Result, error) {
	panic("poisoned transport")
}

func (*poisonTransport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

const poisoned = `{
	mail {
		store sqlite data
		domain mycompany.com
		outgoing deadly {
			from_filter deadly@mycompany.com
			via poison
		}
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		outbound {
			poison
			choose_server
		}
		smtp %s
	}
}
`

// TestPoison sends messages over which a handler or a transport panics: they
// are held with that reason, and those before and behind go on.
func TestPoison(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	door := freeAddress(t)
	g := newGateway(t, fmt.Sprintf(poisoned, far.Start(t), door))
	g.mayPanic = true
	g.start()
	g.awaitReady()

	c := mustDial(t, door)
	c.mustSend(t, mailOf("0"))
	bad := mailOf("handler")
	bad.content = "X-Poison: yes\r\n" + bad.content
	c.mustSend(t, bad)
	c.mustSend(t, mailOf("1"))
	bad = mailOf("transport")
	bad.from, bad.content = "deadly@mycompany.com", strings.Replace(bad.content, "anna@", "deadly@", 1)
	c.mustSend(t, bad)
	c.mustSend(t, mailOf("2"))

	await(t, "the others have come", func() bool { return len(far.Messages()) >= 3 })
	checkOnce(t, far.Messages(), 3)
	await(t, "both are held", func() bool { return g.health().Queue["held"] == 2 })
	for _, d := range g.queue("--state", "held") {
		if !strings.Contains(d.Reason, "poisoned "+d.Subject) {
			t.Errorf("the delivery about the %s is held with reason %q", d.Subject, d.Reason)
		}
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*poisonHandler)(nil)
	_ mailflow.Handler      = (*poisonHandler)(nil)
	_ caddyfile.Unmarshaler = (*poisonTransport)(nil)
	_ mailflow.Transport    = (*poisonTransport)(nil)
)
