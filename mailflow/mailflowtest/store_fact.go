// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var factTests = map[string]func(*storeTest){
	"absent holds once":                         testFactAbsent,
	"exists holds while there is a record":      testFactExists,
	"version holds while it is that version":    testFactVersion,
	"below holds while there is room":           testFactBelow,
	"hits before the window do not count":       testFactWindow,
	"the first fact that does not hold is told": testFactOrder,
	"a stale decision writes nothing":           testFactStale,
	"facts are checked before any is written":   testFactsTogether,
	"count stops at its limit":                  testCountLimit,
	"keys are told apart to the byte":           testKeys,
	"of two with one absent fact one wins":      testFactRace,
	"hits at once never exceed the bound":       testBoundRace,
}

// withFacts commits a message that rests on facts.
func (t *storeTest) withFacts(facts ...mailflow.Fact) error {
	t.Helper()
	d := t.decision(mailflow.StateQueued)
	d.Facts = facts
	return t.store.Commit(t.Context(), d)
}

// holds checks that a decision with these facts is committed.
func (t *storeTest) holds(facts ...mailflow.Fact) {
	t.Helper()
	if err := t.withFacts(facts...); err != nil {
		t.Errorf("commit: %v", err)
	}
}

// stale checks that a decision with these facts is refused for the one at i.
func (t *storeTest) stale(i int, facts ...mailflow.Fact) {
	t.Helper()
	err := t.withFacts(facts...)
	var stale *mailflow.StaleError
	if !errors.Is(err, mailflow.ErrStale) || !errors.As(err, &stale) {
		t.Errorf("commit: %v, want a StaleError", err)
		return
	}
	t.same("stale fact", stale.Fact, facts[i])
}

func (t *storeTest) version(key string, want int64) {
	t.Helper()
	if got, err := t.store.Version(t.Context(), key); err != nil || got != want {
		t.Errorf("Version(%q) = %d, %v, want %d", key, got, err, want)
	}
}

func (t *storeTest) count(key string, since time.Time, limit, want int) {
	t.Helper()
	if got, err := t.store.Count(t.Context(), key, since, limit); err != nil || got != want {
		t.Errorf("Count(%q, %v, %d) = %d, %v, want %d", key, since, limit, got, err, want)
	}
}

func absent(key string) mailflow.Fact {
	return mailflow.Fact{Kind: mailflow.FactAbsent, Key: key}
}

func exists(key string) mailflow.Fact {
	return mailflow.Fact{Kind: mailflow.FactExists, Key: key}
}

func version(key string, v int64) mailflow.Fact {
	return mailflow.Fact{Kind: mailflow.FactVersion, Key: key, Version: v}
}

func (t *storeTest) below(key string, bound int) mailflow.Fact {
	return mailflow.Fact{Kind: mailflow.FactBelow, Key: key, Bound: bound, Since: t.now.Add(-time.Hour), At: t.now}
}

func testFactAbsent(t *storeTest) {
	t.version("k", 0)
	t.holds(absent("k"))
	if v, err := t.store.Version(t.Context(), "k"); err != nil || v == 0 {
		t.Errorf("Version = %d, %v after the record was made", v, err)
	}
	t.stale(0, absent("k"))
	t.holds(absent("other"))
}

func testFactExists(t *storeTest) {
	t.stale(0, exists("k"))
	t.version("k", 0)
	t.holds(absent("k"))
	t.holds(exists("k"))
	t.holds(exists("k"))
}

func testFactVersion(t *storeTest) {
	t.holds(version("k", 0))
	t.version("k", 0)
	t.stale(0, version("k", 1))
	t.holds(absent("k"))
	v, err := t.store.Version(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	t.stale(0, version("k", 0))
	t.holds(version("k", v))
	t.version("k", v)
	t.stale(0, version("k", v+1))
}

func testFactBelow(t *storeTest) {
	for n := range 3 {
		t.count("w", t.now, 10, n)
		t.holds(t.below("w", 3))
	}
	t.stale(0, t.below("w", 3))
	t.count("w", t.now, 10, 3)
	t.holds(t.below("w", 4))
	t.stale(0, t.below("none", 0))
}

func testFactWindow(t *storeTest) {
	f := t.below("w", 1)
	f.At = t.now.Add(-2 * time.Hour)
	t.holds(f)
	t.count("w", t.now.Add(-time.Hour), 10, 0)
	t.count("w", f.At, 10, 1)
	t.count("w", f.At.Add(time.Microsecond), 10, 0)
	t.holds(t.below("w", 1))
	t.stale(0, t.below("w", 1))
}

func testFactOrder(t *storeTest) {
	t.holds(absent("a"))
	t.stale(0, absent("a"), exists("b"))
	t.stale(1, exists("a"), exists("b"), absent("a"))
}

func testFactStale(t *storeTest) {
	t.holds(absent("a"))
	d := t.decision(mailflow.StateQueued)
	d.Claimed = []string{d.Deliveries[0].ID}
	d.Unrouted = &mailflow.Unrouted{Message: d.Message.ID, At: t.now}
	d.Facts = []mailflow.Fact{absent("new"), t.below("w", 5), absent("a")}
	t.wantErr("commit", t.store.Commit(t.Context(), d), mailflow.ErrStale)
	t.missing(d.Message.ID)
	t.version("new", 0)
	t.count("w", t.now, 10, 0)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 1})
	if list, err := t.store.Unrouted(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("Unrouted = %v, %v", list, err)
	}
	// The same decision on other facts, with the same spool.
	d.Facts = []mailflow.Fact{exists("a"), absent("new")}
	t.commit(d)
	t.held(d.Message.ID)
}

func testFactsTogether(t *storeTest) {
	t.holds(absent("a"), absent("a"), version("a", 0))
	t.stale(0, absent("a"))
	t.holds(t.below("w", 1), t.below("w", 1))
	t.count("w", t.now, 10, 2)
}

func testCountLimit(t *storeTest) {
	for range 5 {
		t.holds(t.below("w", 10))
	}
	t.count("w", t.now, 3, 3)
	t.count("w", t.now, 5, 5)
	t.count("w", t.now, 0, 0)
	t.count("other", t.now, 3, 0)
}

func testKeys(t *storeTest) {
	t.holds(absent(mailflow.FactKey("seen", "a", "b")))
	for _, key := range []string{"seen", "seen\x00a", "seen\x00ab", "seen\x00a\x00", "seen\x00a\x00B", "seen\x00a\x00b\x00", "\xff\xfe", ""} {
		t.version(key, 0)
		t.holds(absent(key))
		t.stale(0, absent(key))
		t.holds(t.below(key, 1))
		t.stale(0, t.below(key, 1))
	}
}

// race commits n decisions with one fact at once and returns how many were
// committed; the others must be stale.
func (t *storeTest) race(n int, f mailflow.Fact) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for range n {
		d := t.decision(mailflow.StateQueued)
		d.Facts = []mailflow.Fact{f}
		wg.Go(func() {
			switch err := t.store.Commit(t.Context(), d); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, mailflow.ErrStale):
				t.Errorf("commit: %v, want nil or ErrStale", err)
			}
		})
	}
	wg.Wait()
	t.depth(map[mailflow.State]int{mailflow.StateQueued: int(won.Load())})
	return int(won.Load())
}

func testFactRace(t *storeTest) {
	if won := t.race(20, absent("k")); won != 1 {
		t.Errorf("%d decisions made the same record", won)
	}
}

func testBoundRace(t *storeTest) {
	if won := t.race(20, t.below("w", 7)); won != 7 {
		t.Errorf("%d hits in a window of 7", won)
	}
}
