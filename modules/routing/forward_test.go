// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestForward(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("Received: from a by b; Mon, 2 Mar 2026 10:00:00 +0000\n", maxReceived+1)
	for _, c := range []struct {
		name, lines, header, from string
		want, sender              string
		changes                   string
	}{
		{
			"to a server", "forward relay", "", "nora@unknown.example",
			"sales: deliver by relay", "bounce@mycompany.com +token", "[{add X-Loop sales@mycompany.com}]",
		},
		{
			"a report", "forward relay", "", "",
			"sales: deliver by relay", "", "[{add X-Loop sales@mycompany.com}]",
		},
		{
			"to an address", "forward boss@far.example", "", "nora@unknown.example",
			"sales: dropped, boss: deliver by relay", "bounce@mycompany.com +token", "",
		},
		{
			"once more", "forward relay", "X-Loop: Sales@mycompany.com\n", "nora@unknown.example",
			"sales: 5.4.6 forward", "nora@unknown.example", "[]",
		},
		{
			"for another", "forward relay", "X-Loop: info@mycompany.com\nX-Loop: <>\n", "nora@unknown.example",
			"sales: deliver by relay", "bounce@mycompany.com +token", "[{add X-Loop sales@mycompany.com}]",
		},
		{
			"from too far", "forward boss@far.example", many, "nora@unknown.example",
			"sales: 5.4.6 forward", "nora@unknown.example", "[]",
		},
	} {
		route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), c.lines)
		if err != nil {
			t.Fatal(err)
		}
		tx := mailflowtest.NewTransaction(t, c.header+"From: Nora <nora@unknown.example>\n\nHi.\n", mailflowtest.NewEnvelope(c.from, "sales@mycompany.com"))
		tx.Domain = "mycompany.com"
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		sender := tx.Sender().String()
		if tx.Sending.PerRecipient {
			sender += " +token"
		}
		if got := found(tx); got != c.want || sender != c.sender {
			t.Errorf("%s: %s from %s, want %s from %s", c.name, got, sender, c.want, c.sender)
		}
		if got := fmt.Sprint(tx.HeaderChanges()); c.changes != "" && got != c.changes {
			t.Errorf("%s: %s, want %s", c.name, got, c.changes)
		}
	}
}

// TestForwardAgain decides once more about the delivery of a forward.
func TestForwardAgain(t *testing.T) {
	t.Parallel()
	route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), "forward boss@far.example")
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"boss@far.example":    "boss: deliver by relay",
		"sales@mycompany.com": "sales: unrouted",
	} {
		tx := mailflowtest.NewTransaction(t, "From: Nora <nora@unknown.example>\n\nHi.\n", mailflowtest.NewEnvelope("nora@unknown.example", to))
		tx.Domain, tx.Again = "mycompany.com", true
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil || found(tx) != want {
			t.Errorf("%s: %s, want %s (%v)", to, found(tx), want, err)
		}
	}
}

func TestForwardRefused(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"forward":                        "wrong argument count",
		"forward a b":                    "wrong argument count",
		"forward nobody":                 `no outgoing server is named "nobody"`,
		"forward catchall@mycompany.com": "is an address of ours",
		"dedupe 2h":                      "wrong argument count",
		"dedupe {\n window soon\n}":      "is no duration",
		"dedupe {\n windows 2h\n}":       "unknown option",
		"aliases x":                      "wrong argument count",
		"fallback lead":                  "wrong argument count",
	} {
		if _, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), lines); err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: %v, want %q", lines, err, want)
		}
	}
	for _, lines := range []string{"replies", "aliases", "catchall", "fallback", "dedupe", "forward relay"} {
		if _, err := build(t, mailflow.Outbound, receiving(mailflow.BehaviorDocumented), lines); err == nil {
			t.Errorf("%s loads in the outbound route", lines)
		}
	}
	overlap := receiving(mailflow.BehaviorDocumented)
	overlap.Domains = append(overlap.Domains, mailflow.Domain{Name: "other.example", AllowedDomains: []string{"mycompany.ro"}})
	if _, err := build(t, mailflow.Inbound, overlap, "aliases"); err == nil || !strings.Contains(err.Error(), "is allowed by") {
		t.Errorf("two domains allow one: %v", err)
	}
}
