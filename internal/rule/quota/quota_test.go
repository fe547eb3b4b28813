// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

func limits(tb testing.TB, texts ...string) []mailflow.Limit {
	tb.Helper()
	var ls []mailflow.Limit
	for _, text := range texts {
		l, err := mailflow.ParseLimit(text)
		if err != nil {
			tb.Fatal(err)
		}
		ls = append(ls, l)
	}
	return ls
}

// sent is something that was sent before the question.
type sent struct {
	at string
	n  int
}

func TestRoom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone   string
		limits []string
		sent   []sent
		flying int
		now    string
		count  int
		limit  string
		opens  string
	}{
		"no limits":         {now: "2026-05-01 12:00:00", count: Unlimited},
		"nothing sent":      {limits: []string{"200/day"}, now: "2026-05-01 12:00:00", count: 200},
		"some sent":         {limits: []string{"200/day"}, sent: []sent{{"2026-05-01 01:00:00", 150}}, now: "2026-05-01 12:00:00", count: 50},
		"flying counts":     {limits: []string{"200/day"}, sent: []sent{{"2026-05-01 01:00:00", 150}}, flying: 20, now: "2026-05-01 12:00:00", count: 30},
		"yesterday is over": {limits: []string{"200/day"}, sent: []sent{{"2026-04-30 23:59:59", 200}}, now: "2026-05-01 00:00:00", count: 200},
		"used up until midnight": {
			limits: []string{"200/day"}, sent: []sent{{"2026-05-01 01:00:00", 200}}, now: "2026-05-01 12:00:00",
			limit: "200/day", opens: "2026-05-02 00:00:00",
		},
		"more sent than is allowed now": {
			limits: []string{"100/day"}, sent: []sent{{"2026-05-01 01:00:00", 200}}, now: "2026-05-01 12:00:00",
			limit: "100/day", opens: "2026-05-02 00:00:00",
		},
		"used up by what is under way": {
			limits: []string{"200/day"}, flying: 200, now: "2026-05-01 12:00:00", limit: "200/day",
		},
		"the smallest room counts": {
			limits: []string{"200/day", "50/h"}, sent: []sent{{"2026-05-01 01:00:00", 160}}, now: "2026-05-01 12:00:00", count: 40,
		},
		"an hour slides": {
			limits: []string{"50/h"}, sent: []sent{{"2026-05-01 11:10:00", 30}, {"2026-05-01 11:40:00", 20}}, now: "2026-05-01 12:00:00",
			limit: "50/h", opens: "2026-05-01 12:10:01",
		},
		"an hour opens by parts": {
			limits: []string{"50/h"}, sent: []sent{{"2026-05-01 11:10:00", 30}, {"2026-05-01 11:40:00", 20}}, now: "2026-05-01 12:10:01",
			count: 30,
		},
		"an hour with some under way": {
			limits: []string{"50/h"}, sent: []sent{{"2026-05-01 11:10:00", 10}, {"2026-05-01 11:40:00", 20}}, flying: 40, now: "2026-05-01 12:00:00",
			limit: "50/h", opens: "2026-05-01 12:40:01",
		},
		"a minute": {
			limits: []string{"2/min"}, sent: []sent{{"2026-05-01 11:59:30", 2}}, now: "2026-05-01 12:00:00",
			limit: "2/min", opens: "2026-05-01 12:00:30.1",
		},
		"a second": {
			limits: []string{"14/s"}, sent: []sent{{"2026-05-01 12:00:00", 14}}, now: "2026-05-01 12:00:00.5",
			limit: "14/s", opens: "2026-05-01 12:00:01.01",
		},
		"the latest opening counts": {
			limits: []string{"1/s", "2/day", "1/h"}, sent: []sent{{"2026-05-01 12:00:00", 2}}, now: "2026-05-01 12:00:00",
			limit: "2/day", opens: "2026-05-02 00:00:00",
		},
		"a day of 23 hours": {
			zone: "Europe/Berlin", limits: []string{"2/day"}, sent: []sent{{"2026-03-29 00:30:00", 2}}, now: "2026-03-29 01:00:00",
			limit: "2/day", opens: "2026-03-30 00:00:00",
		},
		"a day of 25 hours": {
			zone: "Europe/Berlin", limits: []string{"2/day"}, sent: []sent{{"2026-10-25 00:30:00", 2}}, now: "2026-10-25 23:59:00",
			limit: "2/day", opens: "2026-10-26 00:00:00",
		},
		"a day that begins at one": {
			zone: "Africa/Cairo", limits: []string{"2/day"}, sent: []sent{{"2026-04-23 22:00:00", 2}}, now: "2026-04-23 23:30:00",
			limit: "2/day", opens: "2026-04-24 01:00:00",
		},
		"a day whose last hour comes twice": {
			zone: "Africa/Cairo", limits: []string{"2/day"}, sent: []sent{{"2026-10-29 22:00:00", 2}}, now: "2026-10-29 22:30:00",
			limit: "2/day", opens: "2026-10-30 00:00:00",
		},
		"a day that does not exist": {
			zone: "Pacific/Apia", limits: []string{"2/day"}, sent: []sent{{"2011-12-29 22:00:00", 2}}, now: "2011-12-29 23:00:00",
			limit: "2/day", opens: "2011-12-31 00:00:00",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loc := time.UTC
			if c.zone != "" {
				loc = zone(t, c.zone)
			}
			parse := func(text string) time.Time {
				at, err := time.ParseInLocation("2006-01-02 15:04:05", text, loc)
				if err != nil {
					t.Fatal(err)
				}
				return at
			}
			var u Usage
			for _, s := range c.sent {
				u.Add(parse(s.at), s.n)
			}
			want := Room{Count: c.count}
			if c.limit != "" {
				want.Limit = limits(t, c.limit)[0]
			}
			if c.opens != "" {
				want.Opens = parse(c.opens)
			}
			if diff := cmp.Diff(want, u.Room(limits(t, c.limits...), parse(c.now), c.flying)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMidnight holds that midnight is the first moment of its day, in all
// kinds of zones and at every change of clocks.
func TestMidnight(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/Sao_Paulo", "Africa/Cairo", "Asia/Beirut", "America/Havana", "Asia/Kathmandu",
		"Australia/Lord_Howe", "Pacific/Apia", "America/Santiago",
	} {
		loc := zone(t, name)
		for at := time.Date(2009, 1, 1, 5, 7, 9, 0, loc); at.Year() < 2030; at = at.Add(11 * time.Hour) {
			m := Midnight(at)
			last := m.Add(-time.Nanosecond)
			if !m.After(at) || dateOf(m) == dateOf(at) || dateOf(last) != dateOf(at) {
				t.Fatalf("midnight after %v is %v", at, m)
			}
		}
	}
}

// TestNever sends at random as much as there is room for, and counts what any
// window has.
func TestNever(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		never(t, seed, []string{"7/s"}, 40*time.Millisecond)
		never(t, seed, []string{"20/min", "3/s"}, 700*time.Millisecond)
		never(t, seed, []string{"100/h", "30/min"}, 20*time.Second)
		never(t, seed, []string{"50/day", "9/h"}, 20*time.Minute)
	}
}

// never sends with pauses of up to twice step, some of it under way for a
// while, and checks each limit.
func never(t *testing.T, seed uint64, texts []string, step time.Duration) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, seed))
	ls := limits(t, texts...)
	loc := zone(t, "Europe/Berlin")
	now := time.Date(2026, 3, 27, 20, 0, 0, int(seed)*1234567, loc)
	var u Usage
	var done []part
	flying := 0
	for range 1000 {
		now = now.Add(time.Duration(r.Int64N(int64(2 * step))))
		room := u.Room(ls, now, flying)
		if room.Count == 0 && !room.Opens.IsZero() {
			if early := u.Room(ls, room.Opens.Add(-time.Millisecond), flying); early.Count > 0 {
				t.Fatalf("%v: said to open at %v, and is open before", texts, room.Opens)
			}
			if u.Room(ls, room.Opens, flying).Count == 0 {
				t.Fatalf("%v: said to open at %v, and does not", texts, room.Opens)
			}
			now = room.Opens
			continue
		}
		if room.Count > 0 {
			flying += 1 + r.IntN(room.Count)
		}
		if n := r.IntN(flying + 1); n > 0 && r.IntN(4) > 0 {
			flying -= n
			u.Add(now, n)
			done = append(done, part{now, n})
		}
	}
	for _, l := range ls {
		for i := range done {
			n := 0
			for _, p := range done[i:] {
				if l.Per == mailflow.Day && dateOf(p.end) != dateOf(done[i].end) || p.end.Sub(done[i].end) >= l.Per {
					break
				}
				n += p.n
			}
			if n > l.Count {
				t.Fatalf("seed %d, %v: %d within %v from %v", seed, texts, n, l, done[i].end)
			}
		}
	}
}

func TestNear(t *testing.T) {
	t.Parallel()
	ls := limits(t, "10/day", "5/h", "2/s")
	now := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	var u Usage
	for i, c := range []struct {
		after time.Duration
		n     int
		near  []string
	}{
		{0, 0, nil},
		{0, 1, nil},
		{time.Minute, 2, []string{"2/s"}},
		{time.Minute, 1, []string{"5/h"}},
		{time.Minute, 1, nil},
		{time.Minute, 2, nil},
		{time.Minute, 1, []string{"10/day"}},
		{time.Minute, 1, nil},
		{2 * time.Hour, 5, []string{"5/h", "2/s"}},
		{22 * time.Hour, 8, []string{"10/day", "5/h", "2/s"}},
	} {
		now = now.Add(c.after)
		u.Add(now, c.n)
		var got []string
		for _, l := range u.Near(ls, now) {
			got = append(got, l.String())
		}
		if !slices.Equal(got, c.near) {
			t.Errorf("step %d: near are %v, want %v", i, got, c.near)
		}
	}
	if n := u.Used(ls[0], now); n != 8 {
		t.Errorf("%d used today, want 8", n)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	for now, want := range map[time.Time]time.Time{
		time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC): time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 5, 1, 0, 20, 0, 0, time.UTC): time.Date(2026, 4, 30, 23, 19, 59, 0, time.UTC),
	} {
		if got := Since(now); !got.Equal(want) {
			t.Errorf("Since(%v) = %v, want %v", now, got, want)
		}
	}
}

// TestClockSetBack holds that a clock that is set back opens nothing.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	ls := limits(t, "2/day")
	now := time.Date(2026, 5, 2, 0, 0, 10, 0, time.UTC)
	var u Usage
	u.Add(now, 2)
	if room := u.Room(ls, now.Add(-time.Minute), 0); room.Count != 0 {
		t.Errorf("a clock that is set back gives room for %d", room.Count)
	}
}

func BenchmarkRoom(b *testing.B) {
	ls := limits(b, "100000/day", "10000/h", "1000/min", "50/s")
	now := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	var u Usage
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(30 * time.Millisecond)
		if u.Room(ls, now, 3).Count > 0 {
			u.Add(now, 1)
		}
	}
}
