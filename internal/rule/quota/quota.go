// SPDX-License-Identifier: Apache-2.0

// Package quota says how much may be sent under limits such as 200/day or 14/s.
//
// # Periods
//
// A limit of a day begins anew at midnight, in the location of the times that
// it is asked with; where clocks change that day has 23 or 25 hours. The
// others are sliding windows: a limit of 50/h means that no hour of any
// beginning has more than 50. What was sent is kept by the hundredth part of a
// second, the tenth part, or the second, for windows of a second, a minute and
// an hour, and counts until the end of that part has left the window: a limit
// is never exceeded, and a window opens later by that much at most.
//
// # Who counts what
//
// A [Usage] is what was sent under one name, such as a server, whatever its
// limits: they are given with each question, so that they may change. What is
// under way counts as well, and is given with the question, too.
package quota

import (
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// windows are the sliding ones and the parts that they are counted by.
var windows = [...]struct{ per, part time.Duration }{
	{time.Second, 10 * time.Millisecond},
	{time.Minute, 100 * time.Millisecond},
	{time.Hour, time.Second},
}

// Usage is what was sent lately. The zero value has sent nothing. It is not
// safe for concurrent use.
type Usage struct {
	day     date
	today   int
	sliding [len(windows)]window
	told    map[mailflow.Limit]time.Time // when to tell again
}

// Since returns the time from which on what was sent matters at now.
func Since(now time.Time) time.Time {
	hour := now.Add(-time.Hour - time.Second)
	if day := dateOf(now).begin(now.Location()); day.Before(hour) {
		return day
	}
	return hour
}

// Add counts n as sent at now. Times should not decrease.
func (u *Usage) Add(now time.Time, n int) {
	if n <= 0 {
		return
	}
	u.turn(now)
	u.today += n
	for i, w := range windows {
		u.sliding[i].add(now, w.part, n)
	}
}

// turn begins a new day if it is time.
func (u *Usage) turn(now time.Time) {
	if d := dateOf(now); u.day.before(d) {
		u.day, u.today = d, 0
	}
}

// Room is how much may be sent now.
type Room struct {
	// Count is how much; 0 if the limit is used up. Without limits it is
	// [Unlimited].
	Count int
	// Limit is the one that is used up, and Opens when there is room again;
	// zero if that is not before something that is under way has ended.
	Limit mailflow.Limit
	Opens time.Time
}

// Unlimited is the room without limits.
const Unlimited = 1 << 30

// Room returns how much may be sent at now under the limits, while as much as
// flying is under way.
func (u *Usage) Room(limits []mailflow.Limit, now time.Time, flying int) Room {
	u.turn(now)
	room := Room{Count: Unlimited}
	shut := false
	for _, l := range limits {
		left := l.Count - u.used(l.Per, now) - flying
		if left > 0 {
			room.Count = min(room.Count, left)
			continue
		}
		opens := u.opens(l, now, flying)
		if !shut || !room.Opens.IsZero() && (opens.IsZero() || opens.After(room.Opens)) {
			room.Limit, room.Opens = l, opens
		}
		shut = true
	}
	if shut {
		room.Count = 0
	}
	return room
}

// used returns what was sent in the period that ends at now.
func (u *Usage) used(per time.Duration, now time.Time) int {
	if per == mailflow.Day {
		return u.today
	}
	for i, w := range windows {
		if w.per == per {
			return u.sliding[i].count(now, per)
		}
	}
	return 0
}

// opens returns when l has room again; zero if flying alone fills it.
func (u *Usage) opens(l mailflow.Limit, now time.Time, flying int) time.Time {
	if flying >= l.Count {
		return time.Time{}
	}
	for i, w := range windows {
		if w.per == l.Per {
			return u.sliding[i].below(l.Count-flying, l.Per)
		}
	}
	return Midnight(now)
}

// nearPart is the part of a limit at which an operator is told.
const nearPart = 0.8

// minTold is how often that is told at most: short windows fill up many times
// an hour, and are meant to.
const minTold = time.Hour

// Near returns those limits of which at least 80 % are used up at now and that
// it has not returned yet in their window.
func (u *Usage) Near(limits []mailflow.Limit, now time.Time) []mailflow.Limit {
	u.turn(now)
	var near []mailflow.Limit
	for _, l := range limits {
		if now.Before(u.told[l]) || float64(u.used(l.Per, now)) < nearPart*float64(l.Count) {
			continue
		}
		if u.told == nil {
			u.told = make(map[mailflow.Limit]time.Time)
		}
		u.told[l] = now.Add(max(l.Per, minTold))
		if l.Per == mailflow.Day {
			u.told[l] = Midnight(now)
		}
		near = append(near, l)
	}
	return near
}

// Used returns how much of the limit's period is used up at now.
func (u *Usage) Used(l mailflow.Limit, now time.Time) int {
	u.turn(now)
	return u.used(l.Per, now)
}

// window counts what was sent in a sliding window.
type window struct {
	parts []part // oldest first
	total int
}

// part is what was sent until end.
type part struct {
	end time.Time
	n   int
}

// add counts n at now in its part of that length.
func (w *window) add(now time.Time, length time.Duration, n int) {
	w.total += n
	end := now.Truncate(length).Add(length)
	if last := len(w.parts) - 1; last >= 0 && !w.parts[last].end.Before(end) {
		w.parts[last].n += n // also when the clock was set back
		return
	}
	w.parts = append(w.parts, part{end: end, n: n})
}

// count returns how much is in the window at now, and forgets what is not.
func (w *window) count(now time.Time, per time.Duration) int {
	gone := 0
	for gone < len(w.parts) && !w.parts[gone].end.Add(per).After(now) {
		w.total -= w.parts[gone].n
		gone++
	}
	w.parts = w.parts[gone:]
	return w.total
}

// below returns when the window has less than n.
func (w *window) below(n int, per time.Duration) time.Time {
	left := w.total
	var at time.Time
	for _, p := range w.parts {
		if left < n {
			break
		}
		left -= p.n
		at = p.end.Add(per)
	}
	return at
}
