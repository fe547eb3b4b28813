// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Resolver is a [mailflow.Resolver] over a table of the test. What does not
// stand in it does not exist. Its zero value is empty and ready.
//
//	dns := &mailflowtest.Resolver{Zone: map[string][]string{
//		"example.com MX":                {"10 mx.example.com"},
//		"mx.example.com IP":             {"192.0.2.1", "2001:db8::1"},
//		"example.com TXT":               {"v=spf1 -all"},
//		"_25._tcp.mx.example.com TLSA":  {"3 1 1 00ff…"},
//		"192.0.2.1 PTR":                 {"mx.example.com"},
//	}}
//
// A null MX is "0 .". A record that cannot be read is an error of the look-up.
type Resolver struct {
	// Zone are the records by name and type: IP, MX, TXT, TLSA or PTR. Once
	// the resolver is in use it is changed by [Resolver.Set] only.
	Zone map[string][]string
	// Errors are the look-ups that fail, by name and type.
	Errors map[string]error
	// Secure makes all answers proven but those whose name and type are in
	// Insecure.
	Secure   bool
	Insecure map[string]bool

	mu    sync.Mutex
	asked []string
}

// Set replaces the records of one name and type; none makes it go.
func (r *Resolver) Set(key string, records ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Zone == nil {
		r.Zone = make(map[string][]string)
	}
	r.Zone[key] = records
}

// Fail makes the look-ups of one name and type fail; nil ends it.
func (r *Resolver) Fail(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Errors == nil {
		r.Errors = make(map[string]error)
	}
	r.Errors[key] = err
}

// Asked returns the names and types that were looked up, in order.
func (r *Resolver) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// IPs implements [mailflow.Resolver].
func (r *Resolver) IPs(ctx context.Context, host string) (mailflow.Answer[netip.Addr], error) {
	return lookUp(ctx, r, host+" IP", netip.ParseAddr)
}

// MX implements [mailflow.Resolver].
func (r *Resolver) MX(ctx context.Context, domain string) (mailflow.Answer[mailflow.MX], error) {
	return lookUp(ctx, r, domain+" MX", func(record string) (mailflow.MX, error) {
		preference, host, _ := strings.Cut(record, " ")
		n, err := strconv.ParseUint(preference, 10, 16)
		return mailflow.MX{Preference: uint16(n), Host: strings.TrimSuffix(host, ".")}, err
	})
}

// TXT implements [mailflow.Resolver].
func (r *Resolver) TXT(ctx context.Context, name string) (mailflow.Answer[string], error) {
	return lookUp(ctx, r, name+" TXT", func(record string) (string, error) { return record, nil })
}

// TLSA implements [mailflow.Resolver].
func (r *Resolver) TLSA(ctx context.Context, name string) (mailflow.Answer[mailflow.TLSA], error) {
	return lookUp(ctx, r, name+" TLSA", func(record string) (mailflow.TLSA, error) {
		var t mailflow.TLSA
		var data string
		if _, err := fmt.Sscan(record, &t.Usage, &t.Selector, &t.MatchingType, &data); err != nil {
			return t, err
		}
		var err error
		t.Data, err = hex.DecodeString(data)
		return t, err
	})
}

// Names implements [mailflow.Resolver].
func (r *Resolver) Names(ctx context.Context, ip netip.Addr) (mailflow.Answer[string], error) {
	return lookUp(ctx, r, ip.Unmap().String()+" PTR", func(record string) (string, error) { return record, nil })
}

// lookUp finds the records of key and reads each by read.
func lookUp[T any](ctx context.Context, r *Resolver, key string, read func(string) (T, error)) (mailflow.Answer[T], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, key)
	err := r.Errors[key]
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && len(r.Zone[key]) == 0:
		err = mailflow.ErrNotFound
	}
	if err != nil {
		return mailflow.Answer[T]{}, fmt.Errorf("looking up %s: %w", key, err)
	}
	a := mailflow.Answer[T]{Secure: r.Secure && !r.Insecure[key]}
	for _, record := range r.Zone[key] {
		value, err := read(record)
		if err != nil {
			return mailflow.Answer[T]{}, fmt.Errorf("reading %s %q: %w", key, record, err)
		}
		a.Records = append(a.Records, value)
	}
	return a, nil
}

// Interface guards.
var _ mailflow.Resolver = (*Resolver)(nil)
