// SPDX-License-Identifier: Apache-2.0

package quota

import "time"

// date is a day of the calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

// before reports whether d is before o.
func (d date) before(o date) bool {
	if d.year != o.year {
		return d.year < o.year
	}
	if d.month != o.month {
		return d.month < o.month
	}
	return d.day < o.day
}

// zoneStep is what the offsets of all zones in use are multiples of.
const zoneStep = 15 * time.Minute

// maxZoneSteps bounds the search for a midnight: clocks change by a day at
// most (Samoa left out one in 2011).
const maxZoneSteps = int(2 * 24 * time.Hour / zoneStep)

// begin returns the first moment of d in loc. Clocks may change at midnight:
// where they skip it the day begins after what is skipped.
func (d date) begin(loc *time.Location) time.Time {
	t := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, loc)
	for range maxZoneSteps {
		if !dateOf(t).before(d) {
			break
		}
		t = t.Add(zoneStep)
	}
	for range maxZoneSteps {
		if earlier := t.Add(-zoneStep); !dateOf(earlier).before(d) {
			t = earlier
			continue
		}
		break
	}
	return t
}

// Midnight returns the first moment of the day after now, in the location of
// now.
func Midnight(now time.Time) time.Time {
	d := dateOf(now)
	next := dateOf(time.Date(d.year, d.month, d.day+1, 12, 0, 0, 0, time.UTC))
	return next.begin(now.Location())
}
