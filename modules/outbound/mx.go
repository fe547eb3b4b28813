// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/mtasts"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MX)) }

// smtpPort is where mail hosts listen.
const smtpPort = 25

// knownPolicies are the MTA-STS policies that were found: what a domain has
// promised holds beyond a change of the configuration.
var knownPolicies = new(mtasts.Cache)

// MX hands mail to the mail hosts of each recipient's domain, without a relay
// between. Which hosts these are, in which order they are tried and how each
// connection is protected is told in package mx: MX records, DANE, MTA-STS and
// opportunistic TLS. DANE works where the resolver proves its answers.
//
// A host that cannot be reached, that greets with an error or that does not
// meet the policy makes room for the next. A refusal for good (5xx) is the
// domain's answer. Recipients that a host defers (4xx) are tried with one more
// host in the same attempt.
//
// Mail never comes back: the list of hosts ends before this gateway, whether
// by its name in the records or in the host's greeting to EHLO, and on port 25
// a loopback address counts as this gateway.
//
// The world trusts a machine that sends so only if its address has a name that
// leads back to it, and if port 25 is open for it, which many networks block.
type MX struct {
	// The port of the mail hosts, for tests.
	// Default: 25.
	Port int `json:"port,omitempty"`

	hostname string
	dns      mailflow.Resolver
	policies *mtasts.Client
	pool     *smtprelay.Pool
	roots    *x509.CertPool // nil = those of the system
	random   func(n int) int
	logger   *zap.Logger

	// nil = that of net.Dialer; tests set it.
	dialer func(ctx context.Context, network, address string) (net.Conn, error)
}

// CaddyModule returns the Caddy module information.
func (*MX) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.mx", New: func() caddy.Module { return new(MX) }}
}

// Provision sets up t.
func (t *MX) Provision(ctx caddy.Context) error {
	t.logger = ctx.Logger()
	t.pool = &smtprelay.Pool{Now: time.Now}
	t.random = rand.IntN
	if t.Port == 0 {
		t.Port = smtpPort
	}
	return nil
}

// Validate checks t.
func (t *MX) Validate() error {
	if t.Port < 1 || t.Port > 65535 {
		return errors.New("port is not between 1 and 65535")
	}
	return nil
}

// UseServices takes the gateway's name and the resolver.
func (t *MX) UseServices(s *mailflow.Services) error {
	if s.Resolver == nil {
		return errors.New("via mx needs a resolver: write dns { resolver system }")
	}
	t.hostname, t.dns = s.Hostname, s.Resolver
	t.policies = &mtasts.Client{
		Fetcher: mtasts.Fetcher{Resolver: s.Resolver, Roots: t.roots, Dial: t.dialer},
		Cache:   knownPolicies, Now: time.Now,
	}
	return nil
}

// PerDomain says that the next hop is found by the recipients' domain.
func (*MX) PerDomain() bool { return true }

// Deliver implements [mailflow.Transport]. A delivery whose recipients are of
// several domains is one attempt for each.
func (t *MX) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	groups := byDomain(a.Delivery.Envelope.Recipients)
	if len(groups) == 1 {
		return t.deliver(ctx, a, groups[0])
	}
	results := make([]mailflow.Result, len(a.Delivery.Envelope.Recipients))
	var unreachable []error
	for _, g := range groups {
		found, err := t.deliver(ctx, part(a, g.at), g)
		if errors.Is(err, mailflow.ErrUnreachable) {
			unreachable = append(unreachable, err)
		}
		for n, i := range g.at {
			if err != nil {
				results[i] = mailflow.ResultOf(a.Delivery.Envelope.Recipients[i], replyFor(err))
			} else {
				results[i] = found[n]
			}
		}
	}
	if len(unreachable) == len(groups) {
		return nil, unreachable[0]
	}
	return results, nil
}

// Close closes the idle connections.
func (t *MX) Close() error { return t.pool.Close() }

// UnmarshalCaddyfile sets up t from Caddyfile tokens. Syntax:
//
//	via mx {
//	    port <number>
//	}
func (t *MX) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Read(d, caddyblock.Options{
		"port": caddyblock.Int(&t.Port, 1, 65535),
	})
}

// Interface guards
var (
	_ caddy.Provisioner        = (*MX)(nil)
	_ caddy.Validator          = (*MX)(nil)
	_ caddyfile.Unmarshaler    = (*MX)(nil)
	_ mailflow.DomainTransport = (*MX)(nil)
	_ mailflow.Tester          = (*MX)(nil)
	_ mailflow.ServicesUser    = (*MX)(nil)
	_ io.Closer                = (*MX)(nil)
)
