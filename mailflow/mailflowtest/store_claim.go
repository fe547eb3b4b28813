// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var decidedTests = map[string]func(*storeTest){
	"a decision made inside is committed":       testDecided,
	"its view sees what others committed":       testDecidedView,
	"its facts are checked":                     testDecidedStale,
	"an error of decide commits nothing":        testDecidedError,
	"no decision commits nothing":               testDecidedNothing,
	"what decide saw still holds at the commit": testDecidedRace,
}

func testDecided(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	d.Facts = []mailflow.Fact{absent("k")}
	err := t.store.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) { return d, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.held(d.Message.ID)
	t.stale(0, absent("k"))
}

func testDecidedView(t *storeTest) {
	t.holds(absent("k"), t.below("w", 9))
	err := t.store.CommitDecided(t.Context(), func(v mailflow.View) (*mailflow.Decision, error) {
		if n, err := v.Version(t.Context(), "k"); err != nil || n == 0 {
			t.Errorf("Version inside = %d, %v", n, err)
		}
		if n, err := v.Version(t.Context(), "none"); err != nil || n != 0 {
			t.Errorf("Version of no record inside = %d, %v", n, err)
		}
		if n, err := v.Count(t.Context(), "w", t.now, 5); err != nil || n != 1 {
			t.Errorf("Count inside = %d, %v", n, err)
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testDecidedStale(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	d.Facts = []mailflow.Fact{exists("k")}
	err := t.store.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) { return d, nil })
	t.wantErr("CommitDecided", err, mailflow.ErrStale)
	t.missing(d.Message.ID)
}

func testDecidedError(t *storeTest) {
	mine := errors.New("mine")
	err := t.store.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) { return nil, mine })
	t.wantErr("CommitDecided", err, mine)
	t.add(mailflow.StateQueued) // and others go on
}

func testDecidedNothing(t *storeTest) {
	err := t.store.CommitDecided(t.Context(), func(mailflow.View) (*mailflow.Decision, error) { return nil, nil })
	if err != nil {
		t.Error(err)
	}
	t.depth(nil)
}

func testDecidedRace(t *storeTest) {
	const n = 10
	var wg sync.WaitGroup
	for i := range 2 * n {
		d := t.decision(mailflow.StateQueued)
		wg.Go(func() {
			if i%2 == 0 { // others make hits meanwhile
				d.Facts = []mailflow.Fact{t.below("w", 1000)}
				if err := t.store.Commit(t.Context(), d); err != nil {
					t.Errorf("commit: %v", err)
				}
				return
			}
			err := t.store.CommitDecided(t.Context(), func(v mailflow.View) (*mailflow.Decision, error) {
				hits, err := v.Count(t.Context(), "w", t.now.Add(-time.Hour), 1000)
				d.Facts = []mailflow.Fact{t.below("w", hits+1)} // just now true
				return d, err
			})
			if err != nil {
				t.Errorf("CommitDecided: %v", err)
			}
		})
	}
	wg.Wait()
	t.count("w", t.now, 1000, 2*n)
}

var claimTests = map[string]func(*storeTest){
	"oldest due first, up to the limit":          testClaimOrder,
	"what is not due is not claimed":             testClaimDue,
	"only queued and deferred are claimed":       testClaimStates,
	"only the lane's deliveries are claimed":     testClaimLane,
	"what is claimed is not claimed again":       testClaimOnce,
	"what is unclaimed is claimed again":         testUnclaim,
	"a committer may claim from the start":       testClaimedFromStart,
	"expired only":                               testClaimExpired,
	"eight at once never claim one twice":        testClaimRace,
	"committed and claimed at once, none twice":  testClaimWhileCommitting,
	"finished and claimed at once, none twice":   testClaimWhileFinishing,
	"lanes tell what waits":                      testLanes,
	"lanes leave out what is claimed":            testLanesClaimed,
	"a destination has lanes":                    testLanesNamed,
	"lanes follow what becomes of deliveries":    testLanesFollow,
	"a claimed delivery shows that it is":        testClaimShows,
	"a delivery without expiry is never expired": testNoExpiry,
}

// addDue commits a delivery for a lane that is due so long after now.
func (t *storeTest) addDue(lane string, in, expires time.Duration) string {
	t.Helper()
	d := t.decision(mailflow.StateQueued)
	d.Deliveries[0].Destination = lane
	d.Deliveries[0].Due = t.now.Add(in)
	d.Deliveries[0].Expires = t.now.Add(expires)
	return t.commit(d).Deliveries[0].ID
}

func testClaimOrder(t *storeTest) {
	var want []string
	for i := range 6 {
		want = append(want, t.addDue("lane", -time.Duration(i)*time.Second, time.Hour))
	}
	slices.Reverse(want)
	t.same("first", ids(t.claim(4)), want[:4])
	t.same("rest", ids(t.claim(4)), want[4:])
	t.same("none", ids(t.claim(4)), []string{})
}

func testClaimDue(t *storeTest) {
	t.addDue("lane", time.Microsecond, time.Hour)
	now := t.addDue("lane", 0, time.Hour)
	t.same("due", ids(t.claim(10)), []string{now})
	t.same("limit 0", ids(t.claim(0)), []string{})
}

func testClaimStates(t *storeTest) {
	d := t.add(mailflow.States...)
	t.same("claimed", ids(t.claim(100)), []string{d.Deliveries[0].ID, d.Deliveries[1].ID})
}

func testClaimLane(t *storeTest) {
	t.addDue("other", 0, time.Hour)
	t.addDue("", 0, time.Hour)
	here := t.addDue("lane", 0, time.Hour)
	t.same("claimed", ids(t.claim(100)), []string{here})
}

func testClaimOnce(t *storeTest) {
	t.add(mailflow.StateQueued)
	if n := len(t.claim(10)); n != 1 {
		t.Fatalf("claimed %d", n)
	}
	if n := len(t.claim(10)); n != 0 {
		t.Errorf("claimed %d again", n)
	}
}

func testUnclaim(t *storeTest) {
	t.add(mailflow.StateQueued, mailflow.StateDeferred)
	first := t.claim(10)
	if err := t.store.Unclaim(t.Context(), first[0].ID, "unknown"); err != nil {
		t.Fatal(err)
	}
	t.same("again", t.claim(10), first[:1])
}

func testClaimedFromStart(t *storeTest) {
	d := t.decision(mailflow.StateQueued, mailflow.StateQueued)
	d.Claimed = []string{d.Deliveries[1].ID}
	t.commit(d)
	t.same("claimed", ids(t.claim(10)), []string{d.Deliveries[0].ID})
	done := d.Deliveries[1]
	done.State = mailflow.StateSent
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{done}})
	// A refused decision leaves no claim behind.
	again := t.decision(mailflow.StateQueued)
	again.Claimed, again.Facts = ids(again.Deliveries), []mailflow.Fact{exists("none")}
	t.wantErr("commit", t.store.Commit(t.Context(), again), mailflow.ErrStale)
	again.Claimed, again.Facts = nil, nil
	t.commit(again)
	t.same("claimed", ids(t.claim(10)), ids(again.Deliveries))
}

func testClaimExpired(t *storeTest) {
	t.addDue("lane", -time.Hour, time.Hour)                // due, lives
	later := t.addDue("lane", time.Hour, -time.Minute)     // not due, over
	over := t.addDue("lane", -2*time.Hour, -2*time.Minute) // due, over
	just := t.addDue("lane", 2*time.Hour, 0)               // over now
	t.addDue("other", -time.Hour, -time.Hour)              // over elsewhere
	claim := mailflow.Claim{Destination: "lane", DueBy: t.now, ExpiredOnly: true, Limit: 2}
	t.same("expired", ids(t.claimWith(claim)), []string{over, later})
	t.same("expired", ids(t.claimWith(claim)), []string{just})
	t.same("expired", ids(t.claimWith(claim)), []string{})
}

// collect runs eight claimers until stop says that nothing more comes, and
// returns how often each delivery was claimed.
func (t *storeTest) collect(limit int, each func(mailflow.Delivery), stop func() bool) map[string]int {
	t.Helper()
	var mu sync.Mutex
	times := make(map[string]int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				last := stop()
				ds, err := t.store.ClaimDue(t.Context(), mailflow.Claim{Destination: "lane", DueBy: t.now, Limit: limit})
				if err != nil {
					t.Errorf("ClaimDue: %v", err)
					return
				}
				for _, d := range ds {
					mu.Lock()
					times[d.ID]++
					mu.Unlock()
					each(d)
				}
				if last && len(ds) == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	return times
}

// once checks that n deliveries were claimed, each once.
func (t *storeTest) once(times map[string]int, n int) {
	t.Helper()
	if len(times) != n {
		t.Errorf("%d deliveries were claimed, want %d", len(times), n)
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("delivery %s was claimed %d times", id, k)
		}
	}
}

func always() bool { return true }

func testClaimRace(t *storeTest) {
	const n = 60
	for range n / 3 {
		t.add(mailflow.StateQueued, mailflow.StateDeferred, mailflow.StateQueued)
	}
	t.once(t.collect(7, func(mailflow.Delivery) {}, always), n)
}

func testClaimWhileCommitting(t *storeTest) {
	const n = 40
	decisions := make([]*mailflow.Decision, n)
	for i := range decisions {
		decisions[i] = t.decision(mailflow.StateQueued, mailflow.StateQueued)
		decisions[i].Claimed = []string{decisions[i].Deliveries[0].ID}
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, d := range decisions {
			if err := t.store.Commit(t.Context(), d); err != nil {
				t.Errorf("commit: %v", err)
			}
		}
	}()
	times := t.collect(3, func(mailflow.Delivery) {}, func() bool { return closed(all) })
	t.once(times, n)
	for _, d := range decisions {
		if times[d.Claimed[0]] != 0 {
			t.Errorf("delivery %s was claimed by its committer already", d.Claimed[0])
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func testClaimWhileFinishing(t *storeTest) {
	const n = 40
	for range n {
		t.add(mailflow.StateQueued)
	}
	t.once(t.collect(2, func(d mailflow.Delivery) {
		d.State = mailflow.StateSent
		if err := t.store.Finish(t.Context(), &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}}); err != nil {
			t.Errorf("Finish: %v", err)
		}
	}, always), n)
	t.depth(map[mailflow.State]int{mailflow.StateSent: n})
}
