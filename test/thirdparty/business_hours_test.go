// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// newHours reads a matcher as the app does.
func newHours(text string) (*BusinessHours, error) {
	m := new(BusinessHours)
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	if err := m.Provision(caddy.Context{}); err != nil {
		return nil, err
	}
	return m, m.Validate()
}

func TestBusinessHoursKeepTheContract(t *testing.T) {
	m, err := newHours("business_hours 09:00-17:00 UTC")
	if err != nil {
		t.Fatal(err)
	}
	mailflowtest.RunMatcherSuite(t, m)
}

func TestBusinessHours(t *testing.T) {
	for _, c := range []struct {
		matcher, at string
		want        bool
	}{
		{"business_hours 09:00-17:00 UTC", "Mon 2 Mar 2026 08:59:59 UTC", false},
		{"business_hours 09:00-17:00 UTC", "Mon 2 Mar 2026 09:00:00 UTC", true},
		{"business_hours 09:00-17:00 UTC", "Mon 2 Mar 2026 16:59:59 UTC", true},
		{"business_hours 09:00-17:00 UTC", "Mon 2 Mar 2026 17:00:00 UTC", false},
		{"business_hours 09:00-17:00 UTC", "Sun 1 Mar 2026 10:00:00 UTC", false},
		{"business_hours 09:00-17:00 UTC", "Sat 28 Feb 2026 10:00:00 UTC", false},
		{"business_hours 00:00-24:00 UTC", "Fri 6 Mar 2026 23:59:59 UTC", true},
		{"business_hours 09:00-17:00 Europe/Berlin", "Wed 4 Mar 2026 08:30:00 UTC", true},
		{"business_hours 09:00-17:00 Europe/Berlin", "Wed 1 Jul 2026 07:30:00 UTC", true}, // summer time
		{"business_hours 09:00-17:00 Europe/Berlin", "Wed 4 Mar 2026 16:30:00 UTC", false},
		{"business_hours 00:00-24:00 UTC {\n\tdays sat sun\n}", "Sat 28 Feb 2026 10:00:00 UTC", true},
		{"business_hours 00:00-24:00 UTC {\n\tdays sat sun\n}", "Mon 2 Mar 2026 10:00:00 UTC", false},
	} {
		m, err := newHours(c.matcher)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("Mon 2 Jan 2006 15:04:05 MST", c.at)
		if err != nil {
			t.Fatal(err)
		}
		tx := mailflowtest.NewTransaction(t, "", mailflowtest.NewEnvelope("anna@example.com", "help@acme.example"))
		tx.Now = at
		if got, err := m.Match(t.Context(), tx, tx.Pending()[0]); err != nil || got != c.want {
			t.Errorf("%s at %s: %v, %v, want %v", c.matcher, c.at, got, err, c.want)
		}
	}
}

func TestBusinessHoursRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"business_hours 9to5":                      "write them as 09:00-17:00",
		"business_hours 09:00":                     "write them as 09:00-17:00",
		"business_hours 17:00-09:00":               "end before they begin",
		"business_hours 09:00-17:00 Moon/Crater":   "reading the time zone",
		"business_hours 09:00-17:00 UTC daily":     "wrong argument count",
		"business_hours {\n\tdays\n}":              "wrong argument count",
		"business_hours {\n\tdays mon caturday\n}": `"caturday" is no day`,
		"business_hours {\n\tholidays yes\n}":      "unrecognized business_hours option",
	} {
		if _, err := newHours(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
