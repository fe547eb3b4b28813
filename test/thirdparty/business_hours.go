// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(BusinessHours)) }

// BusinessHours matches mail that is decided while somebody is in.
type BusinessHours struct {
	// From when until when, as hours and minutes; the end does not belong to
	// it. Default: 09:00-17:00
	Hours string `json:"hours,omitempty"`

	// The time zone, by its name in the IANA database. Default: Local
	Zone string `json:"zone,omitempty"`

	// The days: mon, tue, wed, thu, fri, sat, sun. Default: mon to fri
	Days []string `json:"days,omitempty"`

	opens, closes time.Duration // since midnight
	zone          *time.Location
	days          []time.Weekday
}

// CaddyModule returns the Caddy module information.
func (*BusinessHours) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.business_hours", New: func() caddy.Module { return new(BusinessHours) }}
}

// Provision sets the defaults and reads the times.
func (m *BusinessHours) Provision(caddy.Context) (err error) {
	if m.Hours == "" {
		m.Hours = "09:00-17:00"
	}
	if m.Zone == "" {
		m.Zone = "Local"
	}
	if len(m.Days) == 0 {
		m.Days = dayNames[time.Monday : time.Friday+1]
	}
	opens, closes, _ := strings.Cut(m.Hours, "-")
	if m.opens, err = clockTime(opens); err != nil {
		return fmt.Errorf("reading hours %q: write them as 09:00-17:00: %w", m.Hours, err)
	}
	if m.closes, err = clockTime(closes); err != nil {
		return fmt.Errorf("reading hours %q: write them as 09:00-17:00: %w", m.Hours, err)
	}
	if m.zone, err = time.LoadLocation(m.Zone); err != nil {
		return fmt.Errorf("reading the time zone: %w", err)
	}
	for _, name := range m.Days {
		day := slices.Index(dayNames, name)
		if day < 0 {
			return fmt.Errorf("%q is no day; write one of %s", name, strings.Join(dayNames, ", "))
		}
		m.days = append(m.days, time.Weekday(day))
	}
	return nil
}

// dayNames are the days in the order of [time.Weekday].
var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// clockTime reads a time of the day; 24:00 is its end.
func clockTime(s string) (time.Duration, error) {
	if s == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, err
	}
	return t.Sub(t.Truncate(24 * time.Hour)), nil
}

// Validate checks that the hours end after they begin.
func (m *BusinessHours) Validate() error {
	if m.closes <= m.opens {
		return fmt.Errorf("the hours %s end before they begin", m.Hours)
	}
	return nil
}

// Match implements mailflow.Matcher. The clock is the transaction's, so that a
// mail that is decided twice is decided alike.
func (m *BusinessHours) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	now := tx.Now.In(m.zone)
	clock := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute
	return slices.Contains(m.days, now.Weekday()) && m.opens <= clock && clock < m.closes, nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	business_hours [<from>-<to>] [<zone>] {
//		days <mon|tue|wed|thu|fri|sat|sun>...
//	}
func (m *BusinessHours) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume matcher name
	d.Args(&m.Hours, &m.Zone)
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "days":
			days := d.RemainingArgs()
			if len(days) == 0 {
				return d.ArgErr()
			}
			m.Days = append(m.Days, days...)
		default:
			return d.Errf("unrecognized business_hours option %q", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*BusinessHours)(nil)
	_ caddy.Validator       = (*BusinessHours)(nil)
	_ mailflow.Matcher      = (*BusinessHours)(nil)
	_ caddyfile.Unmarshaler = (*BusinessHours)(nil)
)
