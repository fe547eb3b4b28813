// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/mx"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// A route is the way to a domain: its hosts and its policy.
type route struct {
	domain string
	hosts  []mx.Host
	proven bool // the domain has these hosts for certain
	direct bool // it has no MX record: it is its own host
	sts    mx.STS
}

// route looks up the way to a domain. Its error is a reply where the domain
// takes no mail; any other wraps [mailflow.ErrUnreachable].
func (t *MX) route(ctx context.Context, domain string) (*route, error) {
	if ip, ok := mx.Literal(domain); ok {
		return &route{domain: domain, hosts: []mx.Host{{Name: ip.String()}}}, nil
	}
	if domain == "" {
		return nil, errNoDomain
	}
	r := &route{domain: domain}
	found, err := t.dns.MX(ctx, domain)
	if errors.Is(err, mailflow.ErrNotFound) {
		found.Records, r.direct = []mailflow.MX{{Host: domain}}, true
	} else if err != nil {
		return nil, unusable(err)
	}
	hosts, refusal := mx.Order(found.Records, t.hostname, t.random)
	if refusal != nil {
		return nil, refusal
	}
	r.hosts, r.proven = hosts, found.Secure
	policy, ok, err := t.policies.Policy(ctx, domain)
	if err != nil && ctx.Err() == nil {
		t.logger.Info("looking for an MTA-STS policy", zap.String("domain", domain), zap.Bool("known", ok), zap.Error(err))
	}
	if ok {
		r.sts = mx.STS{Mode: mx.STSMode(policy.Mode), Patterns: policy.MX}
	}
	return r, nil
}

// errNoDomain refuses a recipient that leads nowhere, such as <Postmaster>.
var errNoDomain = &mailflow.Reply{Code: 553, Enhanced: mailflow.EnhancedCode{5, 1, 3}, Text: "Recipient address has no domain"}

// A candidate is a host that may be tried.
type candidate struct {
	domain string
	name   string
	addrs  []netip.Addr
	mx.Protection
}

// candidate looks up a host of the route and decides how to speak to it.
func (t *MX) candidate(ctx context.Context, r *route, name string, requireTLS bool) (*candidate, error) {
	e := mx.Evidence{Domain: r.domain, Host: name, STS: r.sts, RequireTLS: requireTLS}
	c := &candidate{domain: r.domain, name: name}
	if ip, err := netip.ParseAddr(name); err == nil {
		c.addrs = mx.Addresses([]netip.Addr{ip}, t.random)
	} else {
		found, err := t.dns.IPs(ctx, name)
		if err != nil {
			return nil, err
		}
		c.addrs = mx.Addresses(found.Records, t.random)
		e.ProvenMX = found.Secure && (r.proven || r.direct)
	}
	if t.Port == smtpPort && len(c.addrs) > 0 {
		// The world's mail hosts are not on this machine, whatever their
		// records say, and its loopback doors trust whoever comes.
		c.addrs = slices.DeleteFunc(c.addrs, netip.Addr.IsLoopback)
		if len(c.addrs) == 0 {
			return nil, errSelf
		}
	}
	if len(c.addrs) == 0 {
		return nil, fmt.Errorf("host %s: no address that can be tried: %w", name, mailflow.ErrNotFound)
	}
	if e.ProvenMX {
		// Others are not asked: name servers of unsigned zones are known to
		// fail on such questions (RFC 7672 section 2.1.1).
		found, err := t.dns.TLSA(ctx, fmt.Sprintf("_%d._tcp.%s", t.Port, name))
		switch {
		case err != nil && !errors.Is(err, mailflow.ErrNotFound):
			return nil, err
		case err == nil && found.Secure:
			e.TLSA = found.Records
		}
	}
	var err error
	c.Protection, err = mx.Decide(e)
	if c.Note != "" {
		t.logger.Info("mail would be refused", zap.String("domain", r.domain), zap.String("note", c.Note))
	}
	return c, err
}

// describe says the route for the operator.
func (r *route) describe() string {
	var names []string
	for _, h := range r.hosts {
		names = append(names, fmt.Sprintf("%d %s", h.Preference, h.Name))
	}
	s := "MX " + strings.Join(names, ", ")
	if _, literal := mx.Literal(r.domain); literal || r.direct {
		s = "no MX, host " + r.hosts[0].Name
	}
	if r.proven {
		s += ", proven"
	}
	if r.sts.Mode != "" {
		s += "; MTA-STS " + string(r.sts.Mode) + " " + strings.Join(r.sts.Patterns, ", ")
	}
	return s
}
