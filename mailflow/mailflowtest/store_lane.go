// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// lanes checks what Lanes returns, in any order.
func (t *storeTest) lanes(want ...mailflow.Lane) {
	t.Helper()
	list, err := t.store.Lanes(t.Context())
	if err != nil {
		t.Fatalf("Lanes: %v", err)
	}
	got, wanted := make(map[string]mailflow.Lane), make(map[string]mailflow.Lane)
	for _, l := range list {
		got[l.Destination+"|"+l.Name] = l
	}
	for _, l := range want {
		wanted[l.Destination+"|"+l.Name] = l
	}
	if len(got) != len(list) {
		t.Errorf("Lanes has a lane twice: %v", list)
	}
	t.same("Lanes", got, wanted)
}

func testLanes(t *storeTest) {
	t.lanes()
	t.addDue("a", time.Hour, 5*time.Hour)
	t.addDue("a", -time.Minute, 6*time.Hour)
	t.addDue("a", time.Minute, 4*time.Hour)
	t.addDue("", time.Second, time.Hour)
	t.add(mailflow.StateHeld, mailflow.StateSent, mailflow.StateFailed)
	t.lanes(
		mailflow.Lane{Destination: "a", NextDue: t.now.Add(-time.Minute), NextExpiry: t.now.Add(4 * time.Hour), Count: 3},
		mailflow.Lane{Destination: "", NextDue: t.now.Add(time.Second), NextExpiry: t.now.Add(time.Hour), Count: 1},
	)
}

// addLane commits a message that waits in a lane, and returns the delivery.
func (t *storeTest) addLane(destination, lane string, expires time.Duration) mailflow.Delivery {
	t.Helper()
	d := t.decision(mailflow.StateQueued)
	row := &d.Deliveries[0]
	row.Destination, row.Lane, row.Expires = destination, lane, t.now.Add(expires)
	return t.commit(d).Deliveries[0]
}

func testLanesNamed(t *storeTest) {
	a := t.addLane("lane", "mass/a", 3*time.Hour)
	b := t.addLane("lane", "mass/b", 2*time.Hour)
	c := t.addLane("lane", "", 4*time.Hour)
	other := t.addLane("other", "mass/a", time.Hour)
	lane := func(name string) mailflow.Lane {
		return mailflow.Lane{Destination: "lane", Name: name, NextDue: t.now, NextExpiry: b.Expires, Count: 1}
	}
	last := mailflow.Lane{Destination: "other", Name: "mass/a", NextDue: t.now, NextExpiry: other.Expires, Count: 1}
	t.lanes(lane("mass/a"), lane("mass/b"), lane(""), last)
	t.same("the one without name", t.claim(9), []mailflow.Delivery{c})
	t.same("one lane", t.claimWith(mailflow.Claim{Destination: "lane", Lane: "mass/a", DueBy: t.now, Limit: 9}), []mailflow.Delivery{a})
	t.lanes(lane("mass/b"), last)
	if err := t.store.Unclaim(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	t.same("expired ones of all lanes", t.claimWith(mailflow.Claim{
		Destination: "lane", DueBy: t.now.Add(3 * time.Hour), ExpiredOnly: true, Limit: 9,
	}), []mailflow.Delivery{b, a})
	a.Lane = "mass/moved"
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{a}})
	t.lanes(mailflow.Lane{Destination: "lane", Name: "mass/moved", NextDue: t.now, NextExpiry: a.Expires, Count: 1}, last)
}

func testLanesClaimed(t *storeTest) {
	t.addDue("lane", -time.Hour, time.Hour)
	t.addDue("lane", -time.Minute, 3*time.Hour)
	first := t.claim(1)
	rest := mailflow.Lane{Destination: "lane", NextDue: t.now.Add(-time.Minute), NextExpiry: t.now.Add(3 * time.Hour), Count: 1}
	t.lanes(rest)
	t.claim(1)
	t.lanes()
	if err := t.store.Unclaim(t.Context(), first[0].ID); err != nil {
		t.Fatal(err)
	}
	t.lanes(mailflow.Lane{Destination: "lane", NextDue: t.now.Add(-time.Hour), NextExpiry: t.now.Add(time.Hour), Count: 1})
}

func testLanesFollow(t *storeTest) {
	t.addDue("lane", -time.Hour, time.Hour)
	d := t.claim(1)[0]
	d.State, d.Due, d.Destination = mailflow.StateDeferred, t.now.Add(time.Minute), "moved"
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
	t.lanes(mailflow.Lane{Destination: "moved", NextDue: d.Due, NextExpiry: d.Expires, Count: 1})
	act := func(kind mailflow.ActKind) {
		t.Helper()
		if err := t.store.Act(t.Context(), d.ID, mailflow.QueueAct{Kind: kind, At: t.now}); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	act(mailflow.ActHold)
	t.lanes()
	act(mailflow.ActRelease)
	t.lanes(mailflow.Lane{Destination: "moved", NextDue: t.now, NextExpiry: d.Expires, Count: 1})
	act(mailflow.ActDrop)
	t.lanes()
}

func testClaimShows(t *storeTest) {
	d := t.add(mailflow.StateQueued).Deliveries[0]
	if t.stored(d.ID).Claimed {
		t.Error("a delivery that nobody has shows as claimed")
	}
	t.claim(1)
	if q := t.stored(d.ID); !q.Claimed || q.State != mailflow.StateQueued {
		t.Errorf("a claimed delivery shows as %s, claimed %v", q.State, q.Claimed)
	}
	d.State = mailflow.StateSent
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
	if t.stored(d.ID).Claimed {
		t.Error("a finished delivery shows as claimed")
	}
}

func testNoExpiry(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	d.Deliveries[0].Expires = time.Time{}
	t.commit(d)
	t.same("expired", t.claimWith(mailflow.Claim{Destination: "lane", DueBy: t.now.Add(1000 * time.Hour), ExpiredOnly: true, Limit: 9}), []mailflow.Delivery{})
	t.lanes(mailflow.Lane{Destination: "lane", NextDue: t.now, Count: 1})
	t.same("claimed", t.claim(1), d.Deliveries)
}
