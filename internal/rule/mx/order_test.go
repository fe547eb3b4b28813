// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// last draws nothing: the order stays as it is.
func last(n int) int { return n - 1 }

// records reads "10 a, 20 b".
func records(text string) []mailflow.MX {
	var list []mailflow.MX
	for field := range strings.SplitSeq(text, ",") {
		var r mailflow.MX
		_, _ = fmt.Sscan(field, &r.Preference, &r.Host)
		list = append(list, r)
	}
	return list
}

func TestOrder(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, records, want string }{
		{"by preference", "20 b.example, 10 a.example, 30 c.example", "a.example b.example c.example"},
		{"equals", "10 b.example, 10 a.example", "b.example a.example"},
		{"twice", "20 a.example, 10 A.Example., 15 b.example", "a.example b.example"},
		{"null", "0", ErrNullMX.String()},
		{"null among others is none", "0, 10 a.example", "a.example"},
		{"we stand behind", "10 a.example, 20 gate.example, 30 c.example", "a.example"},
		{"we are an equal", "10 a.example, 20 b.example, 20 gate.example", "a.example"},
		{"we are the first", "10 Gate.example., 20 b.example", ErrLoop.String()},
		{"we are all", "10 gate.example", ErrLoop.String()},
		{"many", "1 a,2 b,3 c,4 d,5 e,6 f", "a b c d e"},
	}
	for _, tt := range tests {
		hosts, reply := Order(records(tt.records), "gate.example", last)
		var names []string
		for _, h := range hosts {
			names = append(names, h.Name)
		}
		got := strings.Join(names, " ")
		if reply != nil {
			got += reply.String()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestOrderDraws spreads load over equals, and never over preferences.
func TestOrderDraws(t *testing.T) {
	t.Parallel()
	first := make(map[string]int)
	for range 300 {
		hosts, _ := Order(records("10 a, 10 b, 10 c, 20 d"), "", rand.IntN)
		first[hosts[0].Name]++
		if hosts[3].Name != "d" {
			t.Fatalf("order %v", hosts)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		if first[name] < 50 {
			t.Errorf("%s was first %d times of 300", name, first[name])
		}
	}
}

func TestIsSelf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, hostname string
		want           bool
	}{
		{"gate.example", "gate.example", true},
		{"Gate.Example.", "gate.example", true},
		{"gate.example.org", "gate.example", false},
		{"localhost", "localhost", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got := IsSelf(tt.name, tt.hostname); got != tt.want {
			t.Errorf("IsSelf(%q, %q) = %v", tt.name, tt.hostname, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{"192.0.2.1 192.0.2.2 2001:db8::1", "2001:db8::1 192.0.2.1 192.0.2.2"},
		{"2001:db8::1 2001:db8::2 192.0.2.1 2001:db8::3 192.0.2.2", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"0.0.0.0 :: 224.0.0.1 ff02::1 192.0.2.1", "192.0.2.1"},
		{"0.0.0.0", ""},
	}
	for _, tt := range tests {
		var in []netip.Addr
		for a := range strings.FieldsSeq(tt.in) {
			in = append(in, netip.MustParseAddr(a))
		}
		before := fmt.Sprint(in)
		if got := strings.Trim(fmt.Sprint(Addresses(in, last)), "[]"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
		if after := fmt.Sprint(in); after != before {
			t.Errorf("%s became %s", before, after)
		}
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	tests := []struct{ domain, want string }{
		{"[192.0.2.1]", "192.0.2.1"},
		{"[IPv6:2001:db8::1]", "2001:db8::1"},
		{"192.0.2.1", ""},
		{"example.com", ""},
		{"[x]", ""},
	}
	for _, tt := range tests {
		addr, ok := Literal(tt.domain)
		if ok != (tt.want != "") || ok && addr.String() != tt.want {
			t.Errorf("Literal(%s) = %s, %v", tt.domain, addr, ok)
		}
	}
}
