// SPDX-License-Identifier: Apache-2.0

package mailflowtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestResolver(t *testing.T) {
	t.Parallel()
	r := &mailflowtest.Resolver{Zone: map[string][]string{
		"example.com MX":               {"10 mx.example.com", "0 ."},
		"mx.example.com IP":            {"192.0.2.1", "2001:db8::1"},
		"example.com TXT":              {"v=spf1 -all"},
		"_25._tcp.mx.example.com TLSA": {"3 1 1 00ff"},
		"192.0.2.1 PTR":                {"mx.example.com"},
		"bad.example IP":               {"x"},
	}, Secure: true, Insecure: map[string]bool{"example.com TXT": true}}
	ctx := t.Context()
	look := map[string]func() (any, error){
		"{[{10 mx.example.com} {0 }] true}": func() (any, error) { return r.MX(ctx, "example.com") },
		"{[192.0.2.1 2001:db8::1] true}":    func() (any, error) { return r.IPs(ctx, "mx.example.com") },
		"{[v=spf1 -all] false}":             func() (any, error) { return r.TXT(ctx, "example.com") },
		"{[{3 1 1 [0 255]}] true}":          func() (any, error) { return r.TLSA(ctx, "_25._tcp.mx.example.com") },
		"{[mx.example.com] true}":           func() (any, error) { return r.Names(ctx, netip.MustParseAddr("::ffff:192.0.2.1")) },
	}
	for want, f := range look {
		if got, err := f(); err != nil || fmt.Sprint(got) != want {
			t.Errorf("got %v, %v; want %s", got, err, want)
		}
	}
	if _, err := r.IPs(ctx, "nobody.example"); !errors.Is(err, mailflow.ErrNotFound) {
		t.Errorf("not in the table: %v", err)
	}
	if _, err := r.IPs(ctx, "bad.example"); err == nil || errors.Is(err, mailflow.ErrNotFound) {
		t.Errorf("unreadable: %v", err)
	}
	r.Fail("example.com MX", errors.New("servfail"))
	if _, err := r.MX(ctx, "example.com"); err == nil || errors.Is(err, mailflow.ErrNotFound) {
		t.Errorf("failing: %v", err)
	}
	r.Fail("example.com MX", nil)
	r.Set("example.com MX")
	if _, err := r.MX(ctx, "example.com"); !errors.Is(err, mailflow.ErrNotFound) {
		t.Errorf("taken away: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.IPs(ended, "mx.example.com"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if asked := r.Asked(); asked[len(asked)-1] != "mx.example.com IP" {
		t.Errorf("asked %q", asked)
	}
}
