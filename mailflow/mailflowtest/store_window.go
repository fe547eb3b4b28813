// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var hitTests = map[string]func(*storeTest){
	"counts are added up":                       testHitSum,
	"hits at one time are one":                  testHitMerge,
	"hits of facts and of outcomes are alike":   testHitFacts,
	"an outcome that is refused adds no hits":   testHitRefused,
	"hits are forgotten at their end":           testHitSweep,
	"hits are listed from a time, oldest first": testHitList,
}

var valueTests = map[string]func(*storeTest){
	"an unknown value is no record":        testValueNone,
	"a value is changed by who knows it":   testValueVersions,
	"a value may be empty, and has bounds": testValueBounds,
	"what is read is a copy":               testValueCopy,
	"of many who change it one wins":       testValueRace,
}

// hit adds hits to the windows.
func (t *storeTest) hit(hits ...mailflow.Hit) {
	t.Helper()
	t.finish(&mailflow.Outcome{Hits: hits})
}

// hits checks what is in a window.
func (t *storeTest) hits(key string, since time.Time, want ...mailflow.Hit) {
	t.Helper()
	got, err := t.store.Hits(t.Context(), key, since)
	if err != nil {
		t.Fatalf("Hits(%q): %v", key, err)
	}
	t.same("hits of "+key, got, want)
}

func testHitSum(t *storeTest) {
	t.hit(
		mailflow.Hit{Key: "w", At: t.now.Add(-2 * time.Second), Count: 40},
		mailflow.Hit{Key: "w", At: t.now.Add(-time.Second), Count: 30},
		mailflow.Hit{Key: "other", At: t.now, Count: 5},
	)
	t.hit(mailflow.Hit{Key: "w", At: t.now, Count: 20})
	t.count("w", t.now.Add(-time.Hour), 1000, 90)
	t.count("w", t.now.Add(-time.Second), 1000, 50)
	t.count("w", t.now, 1000, 20)
	t.count("w", t.now.Add(time.Second), 1000, 0)
	t.count("w", t.now.Add(-time.Hour), 90, 90)
	t.count("w", t.now.Add(-time.Hour), 55, 55)
	t.count("w", t.now.Add(-time.Hour), 1, 1)
	t.count("w", t.now.Add(-time.Hour), 0, 0)
	t.count("other", t.now.Add(-time.Hour), 1000, 5)
}

func testHitMerge(t *storeTest) {
	soon, late := t.now.Add(time.Hour), t.now.Add(2*time.Hour)
	t.hit(mailflow.Hit{Key: "w", At: t.now, Count: 1, Expires: late}, mailflow.Hit{Key: "w", At: t.now, Count: 2, Expires: soon})
	t.hits("w", t.now, mailflow.Hit{Key: "w", At: t.now, Count: 3, Expires: late})
	t.hit(mailflow.Hit{Key: "w", At: t.now, Count: 4})
	t.hit(mailflow.Hit{Key: "w", At: t.now, Count: 5, Expires: soon})
	t.hits("w", t.now, mailflow.Hit{Key: "w", At: t.now, Count: 12})
	t.hit(mailflow.Hit{Key: "w", At: t.now.Add(time.Microsecond), Count: 1})
	t.hits("w", t.now, mailflow.Hit{Key: "w", At: t.now, Count: 12}, mailflow.Hit{Key: "w", At: t.now.Add(time.Microsecond), Count: 1})
}

func testHitFacts(t *storeTest) {
	t.hit(mailflow.Hit{Key: "w", At: t.now, Count: 6})
	t.stale(0, t.below("w", 6))
	t.holds(t.below("w", 7))
	t.stale(0, t.below("w", 7))
	t.count("w", t.now, 100, 7)
	t.hits("w", t.now, mailflow.Hit{Key: "w", At: t.now, Count: 7})
}

func testHitRefused(t *storeTest) {
	d := t.add(mailflow.StateQueued).Deliveries[0]
	d.State = mailflow.StateSent
	o := &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}, Hits: []mailflow.Hit{{Key: "w", At: t.now, Count: 1}}}
	t.wantErr("Finish", t.store.Finish(t.Context(), o), mailflow.ErrState)
	t.hits("w", t.now)
	t.claim(1)
	t.finish(o)
	t.count("w", t.now, 9, 1)
}

func testHitSweep(t *storeTest) {
	t.hit(
		mailflow.Hit{Key: "w", At: t.now, Count: 100, Expires: t.now.Add(time.Hour)},
		mailflow.Hit{Key: "w", At: t.now.Add(time.Second), Count: 10, Expires: t.now.Add(2 * time.Hour)},
		mailflow.Hit{Key: "w", At: t.now.Add(2 * time.Second), Count: 1},
	)
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{0, 111}, {time.Hour, 11}, {3 * time.Hour, 1}} {
		if _, err := t.store.Sweep(t.Context(), mailflow.Retention{}, t.now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		t.count("w", t.now, 1000, c.left)
	}
}

func testHitList(t *storeTest) {
	key := mailflow.FactKey("sent", "server", "a")
	t.hits(key, time.Time{})
	var want []mailflow.Hit
	for i := range 5 {
		want = append(want, mailflow.Hit{Key: key, At: t.now.Add(time.Duration(i) * time.Second), Count: i + 1, Expires: t.now.Add(time.Hour)})
	}
	t.hit(want[3], want[1], want[4])
	t.hit(want[2], want[0], mailflow.Hit{Key: key + "\x00", At: t.now, Count: 1})
	t.hits(key, time.Time{}, want...)
	t.hits(key, want[2].At, want[2:]...)
	t.hits(key, t.now.Add(time.Hour))
}

// value checks a value and returns its version.
func (t *storeTest) value(key string, want []byte) int64 {
	t.Helper()
	got, v, err := t.store.Value(t.Context(), key)
	if err != nil || !bytes.Equal(got, want) || v <= 0 {
		t.Errorf("Value(%q) = %q, %d, %v, want %q", key, got, v, err, want)
	}
	return v
}

// set writes a value, which must not be refused.
func (t *storeTest) set(key string, value []byte, version int64) {
	t.Helper()
	if err := t.store.SetValue(t.Context(), key, value, version); err != nil {
		t.Errorf("SetValue(%q, %d): %v", key, version, err)
	}
}

func testValueNone(t *storeTest) {
	_, _, err := t.store.Value(t.Context(), "v")
	t.wantErr("Value", err, mailflow.ErrNoRecord)
	t.wantErr("SetValue", t.store.SetValue(t.Context(), "v", []byte("x"), 1), mailflow.ErrStale)
	_, _, err = t.store.Value(t.Context(), "v")
	t.wantErr("Value", err, mailflow.ErrNoRecord)
}

func testValueVersions(t *storeTest) {
	t.set("v", []byte("one"), 0)
	v := t.value("v", []byte("one"))
	t.wantErr("as new", t.store.SetValue(t.Context(), "v", []byte("x"), 0), mailflow.ErrStale)
	t.wantErr("of a later version", t.store.SetValue(t.Context(), "v", []byte("x"), v+1), mailflow.ErrStale)
	if again := t.value("v", []byte("one")); again != v {
		t.Errorf("version %d became %d", v, again)
	}
	t.set("v", []byte("two"), v)
	t.wantErr("of an older version", t.store.SetValue(t.Context(), "v", []byte("x"), v), mailflow.ErrStale)
	if second := t.value("v", []byte("two")); second == v {
		t.Errorf("a change kept version %d", v)
	}
	t.set("other", []byte("three"), 0)
	t.value("v", []byte("two"))
}

func testValueBounds(t *storeTest) {
	t.set("nil", nil, 0)
	t.value("nil", nil)
	t.set("bytes \x00\xff", []byte("\x00\xff"), 0)
	t.value("bytes \x00\xff", []byte("\x00\xff"))
	most := random(mailflow.MaxValue)
	t.set("most", most, 0)
	t.value("most", most)
	if err := t.store.SetValue(t.Context(), "most", random(mailflow.MaxValue+1), t.value("most", most)); err == nil || errors.Is(err, mailflow.ErrStale) {
		t.Errorf("a value above MaxValue: %v", err)
	}
	t.value("most", most)
}

func testValueCopy(t *storeTest) {
	given := []byte("given")
	t.set("v", given, 0)
	given[0] = 'x'
	for range 2 {
		t.value("v", []byte("given"))
		got, _, err := t.store.Value(t.Context(), "v")
		if err != nil {
			t.Fatal(err)
		}
		got[0] = 'x'
	}
}

func testValueRace(t *storeTest) {
	version := int64(0)
	for range 3 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range byte(20) {
			wg.Go(func() {
				switch err := t.store.SetValue(t.Context(), "v", []byte{i}, version); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, mailflow.ErrStale):
					t.Errorf("SetValue: %v, want nil or ErrStale", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 20 changed version %d", won.Load(), version)
		}
		var err error
		if _, version, err = t.store.Value(t.Context(), "v"); err != nil {
			t.Fatal(err)
		}
	}
}
