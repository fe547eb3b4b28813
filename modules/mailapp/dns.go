// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"fmt"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// DNS is how names are looked up.
type DNS struct {
	// Who is asked: the machine's own name servers, others by UDP, or others by
	// TLS. DANE works only with one that is trusted to prove its answers.
	// Default: system.
	ResolverRaw json.RawMessage `json:"resolver,omitempty" caddy:"namespace=mail.resolvers inline_key=module"`
}

// options are those of the block. Syntax:
//
//	dns {
//		resolver system|udp|dot [<addresses...>] {
//			...
//		}
//	}
func (c *DNS) options() caddyblock.Options {
	return caddyblock.Options{
		"resolver": caddyblock.Guest(&c.ResolverRaw, "mail.resolvers", "module", "resolver"),
	}
}

// loadResolver loads the resolver that looks names up.
func (a *App) loadResolver() (mailflow.Resolver, error) {
	var guest any
	var err error
	if len(a.DNS.ResolverRaw) > 0 {
		guest, err = a.ctx.LoadModule(&a.DNS, "ResolverRaw")
	} else {
		guest, err = a.ctx.LoadModuleByID("mail.resolvers.system", nil)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the mail resolver: %w", err)
	}
	resolver, ok := guest.(mailflow.Resolver)
	if !ok {
		return nil, fmt.Errorf("%T is not a mail resolver", guest)
	}
	return resolver, nil
}
