// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Config says whom to ask. It is not changed by this package.
type Config struct {
	// Servers are the name servers, the preferred one first. There is one at
	// least.
	Servers []Server
	// Timeout bounds each try with one server. Default: 3s.
	Timeout time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Resolver implements [mailflow.Resolver]. It is safe for concurrent use.
type Resolver struct {
	cfg     Config
	links   []*link // one for each server
	first   atomic.Int32
	cache   cache
	flights singleflight.Group
}

// New returns a resolver. It opens nothing before it is asked.
func New(cfg Config) *Resolver {
	if cfg.Timeout <= 0 {
		cfg.Timeout = tryTimeout
	}
	r := &Resolver{cfg: cfg, cache: cache{entries: make(map[question]entry)}}
	for _, s := range cfg.Servers {
		r.links = append(r.links, &link{server: s, timeout: cfg.Timeout, now: cfg.Now})
	}
	return r
}

// Close closes the idle connections. The resolver can still be used, and keeps
// no connection from then on.
func (r *Resolver) Close() error {
	for _, l := range r.links {
		l.close()
	}
	return nil
}

// IPs implements [mailflow.Resolver]. It asks for both families at once. Where
// one of them cannot be known the other counts.
func (r *Resolver) IPs(ctx context.Context, host string) (mailflow.Answer[netip.Addr], error) {
	type found struct {
		answer mailflow.Answer[netip.Addr]
		err    error
	}
	v6 := make(chan found, 1)
	go func() {
		a, err := look(ctx, r, host, dns.TypeAAAA, func(rr *dns.AAAA) (netip.Addr, error) { return address(rr.AAAA) })
		v6 <- found{a, err}
	}()
	four, err := look(ctx, r, host, dns.TypeA, func(rr *dns.A) (netip.Addr, error) { return address(rr.A) })
	six := <-v6
	switch {
	case err == nil && six.err == nil:
		four.Records = append(four.Records, six.answer.Records...)
		four.Secure = four.Secure && six.answer.Secure
		return four, nil
	case err == nil:
		return four, nil
	case six.err == nil:
		return six.answer, nil
	case errors.Is(err, mailflow.ErrNotFound): // the other error may be a temporary one
		return mailflow.Answer[netip.Addr]{}, six.err
	}
	return mailflow.Answer[netip.Addr]{}, err
}

// address returns ip in the form of the contracts.
func address(ip []byte) (netip.Addr, error) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}, errors.New("malformed address")
	}
	return addr.Unmap(), nil
}

// MX implements [mailflow.Resolver].
func (r *Resolver) MX(ctx context.Context, domain string) (mailflow.Answer[mailflow.MX], error) {
	return look(ctx, r, domain, dns.TypeMX, func(rr *dns.MX) (mailflow.MX, error) {
		return mailflow.MX{Preference: rr.Preference, Host: relative(rr.Mx)}, nil
	})
}

// TXT implements [mailflow.Resolver].
func (r *Resolver) TXT(ctx context.Context, name string) (mailflow.Answer[string], error) {
	return look(ctx, r, name, dns.TypeTXT, func(rr *dns.TXT) (string, error) { return unescape(strings.Join(rr.Txt, "")), nil })
}

// TLSA implements [mailflow.Resolver].
func (r *Resolver) TLSA(ctx context.Context, name string) (mailflow.Answer[mailflow.TLSA], error) {
	return look(ctx, r, name, dns.TypeTLSA, func(rr *dns.TLSA) (mailflow.TLSA, error) {
		data, err := hex.DecodeString(rr.Certificate)
		return mailflow.TLSA{Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: data}, err
	})
}

// Names implements [mailflow.Resolver].
func (r *Resolver) Names(ctx context.Context, ip netip.Addr) (mailflow.Answer[string], error) {
	name, err := dns.ReverseAddr(ip.Unmap().WithZone("").String())
	if err != nil {
		return mailflow.Answer[string]{}, fmt.Errorf("looking up the names of %s: %w", ip, err)
	}
	return look(ctx, r, name, dns.TypePTR, func(rr *dns.PTR) (string, error) { return relative(rr.Ptr), nil })
}

// look asks for the records of one type, and reads each by read.
func look[RR dns.RR, T any](ctx context.Context, r *Resolver, name string, qtype uint16, read func(RR) (T, error)) (mailflow.Answer[T], error) {
	q := question{name: absolute(name), qtype: qtype}
	fail := func(err error) (mailflow.Answer[T], error) {
		return mailflow.Answer[T]{}, fmt.Errorf("looking up %s of %s: %w", dns.TypeToString[qtype], relative(name), err)
	}
	if _, ok := dns.IsDomainName(q.name); !ok || strings.ContainsAny(name, "\\ \t") {
		return fail(mailflow.ErrNotFound) // nobody can have such a name
	}
	found, err := r.resolve(ctx, q)
	if err != nil {
		return fail(err)
	}
	a := mailflow.Answer[T]{Records: make([]T, 0, len(found.records)), Secure: found.secure}
	for _, rr := range found.records {
		typed, ok := rr.(RR)
		if !ok {
			continue
		}
		record, err := read(typed)
		if err != nil {
			return fail(err)
		}
		a.Records = append(a.Records, record)
	}
	if len(a.Records) == 0 {
		return fail(mailflow.ErrNotFound)
	}
	return a, nil
}

// absolute returns name as the DNS has it.
func absolute(name string) string { return dns.Fqdn(strings.ToLower(name)) }

// relative returns name as the contracts have it.
func relative(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unescape returns the bytes of a TXT string, which the library gives in the
// form of a zone file.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Interface guards.
var _ mailflow.Resolver = (*Resolver)(nil)
