// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"slices"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var actTests = map[string]func(*storeTest){
	"each order in each state":                  testActMatrix,
	"an unknown delivery":                       testActUnknown,
	"a claimed delivery":                        testActClaimed,
	"retry makes due at the time of the order":  testActRetry,
	"release after attempts waits for the next": testActReleaseDeferred,
	"release to another server":                 testActReleaseServer,
	"an act and a claim at once, only one wins": testActRace,
	"an unknown order":                          testActOther,
	"a held delivery is not claimed":            testActHeld,
}

func testActMatrix(t *storeTest) {
	allowed := map[mailflow.ActKind][]mailflow.State{
		mailflow.ActRetry:   {mailflow.StateQueued, mailflow.StateDeferred},
		mailflow.ActHold:    {mailflow.StateQueued, mailflow.StateDeferred},
		mailflow.ActRelease: {mailflow.StateHeld},
		mailflow.ActDrop:    {mailflow.StateQueued, mailflow.StateDeferred, mailflow.StateHeld},
	}
	becomes := map[mailflow.ActKind]mailflow.State{
		mailflow.ActHold: mailflow.StateHeld, mailflow.ActRelease: mailflow.StateQueued, mailflow.ActDrop: mailflow.StateDropped,
	}
	for kind, from := range allowed {
		for _, st := range mailflow.States {
			d := t.add(st).Deliveries[0]
			act := mailflow.QueueAct{Kind: kind, Reason: "by order", At: t.now.Add(time.Minute)}
			err := t.store.Act(t.Context(), d.ID, act)
			if !slices.Contains(from, st) {
				t.wantErr(string(kind)+" of "+string(st), err, mailflow.ErrState)
				t.same("unchanged", t.stored(d.ID).Delivery, d)
				continue
			}
			if err != nil {
				t.Errorf("%s of %s: %v", kind, st, err)
			}
			d.Reason = act.Reason
			if to, ok := becomes[kind]; ok {
				d.State = to
			}
			if kind == mailflow.ActRetry || kind == mailflow.ActRelease {
				d.Due = act.At
			}
			t.same(string(kind)+" of "+string(st), t.stored(d.ID).Delivery, d)
		}
	}
}

func (t *storeTest) act(id string, kind mailflow.ActKind) error {
	return t.store.Act(t.Context(), id, mailflow.QueueAct{Kind: kind, At: t.now})
}

func testActUnknown(t *storeTest) {
	t.wantErr("Act", t.act("unknown", mailflow.ActDrop), mailflow.ErrNoRecord)
}

func testActOther(t *storeTest) {
	d := t.add(mailflow.StateQueued).Deliveries[0]
	if err := t.act(d.ID, "other"); err == nil {
		t.Error("an unknown order was followed")
	}
	t.same("unchanged", t.stored(d.ID).Delivery, d)
}

func testActClaimed(t *storeTest) {
	d := t.claimed(1)[0]
	for _, kind := range []mailflow.ActKind{mailflow.ActRetry, mailflow.ActHold, mailflow.ActRelease, mailflow.ActDrop} {
		t.wantErr(string(kind), t.act(d.ID, kind), mailflow.ErrState)
	}
	d.State = mailflow.StateSent // the claim is still good
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
}

func testActRetry(t *storeTest) {
	id := t.addDue("lane", time.Hour, 2*time.Hour)
	t.same("too early", ids(t.claim(1)), []string{})
	if err := t.act(id, mailflow.ActRetry); err != nil {
		t.Fatal(err)
	}
	t.same("due", ids(t.claim(1)), []string{id})
}

func testActReleaseDeferred(t *storeTest) {
	d := t.decision(mailflow.StateHeld)
	d.Deliveries[0].Attempts = 2
	id := t.commit(d).Deliveries[0].ID
	if err := t.act(id, mailflow.ActRelease); err != nil {
		t.Fatal(err)
	}
	if st := t.stored(id).State; st != mailflow.StateDeferred {
		t.Errorf("released after two attempts: %s", st)
	}
}

func testActReleaseServer(t *storeTest) {
	d := t.add(mailflow.StateHeld).Deliveries[0]
	if err := t.store.Act(t.Context(), d.ID, mailflow.QueueAct{Kind: mailflow.ActRelease, At: t.now, Server: "new"}); err != nil {
		t.Fatal(err)
	}
	if got := t.stored(d.ID); got.Server != "new" || got.Destination != "new" {
		t.Errorf("released to new: server %q, destination %q", got.Server, got.Destination)
	}
	t.same("claimed", ids(t.claimWith(mailflow.Claim{Destination: "new", DueBy: t.now, Limit: 1})), []string{d.ID})
}

func testActHeld(t *storeTest) {
	d := t.add(mailflow.StateQueued).Deliveries[0]
	if err := t.act(d.ID, mailflow.ActHold); err != nil {
		t.Fatal(err)
	}
	t.same("claimed", t.claim(1), []mailflow.Delivery{})
	t.depth(map[mailflow.State]int{mailflow.StateHeld: 1})
}

func testActRace(t *storeTest) {
	for range 20 {
		d := t.add(mailflow.StateQueued).Deliveries[0]
		var held error
		var claimed []mailflow.Delivery
		var wg sync.WaitGroup
		wg.Go(func() { held = t.act(d.ID, mailflow.ActHold) })
		wg.Go(func() {
			var err error
			if claimed, err = t.store.ClaimDue(t.Context(), mailflow.Claim{Destination: "lane", DueBy: t.now, Limit: 1}); err != nil {
				t.Errorf("ClaimDue: %v", err)
			}
		})
		wg.Wait()
		if (held == nil) == (len(claimed) == 1) {
			t.Fatalf("hold: %v, and %d claimed", held, len(claimed))
		}
		if held != nil {
			t.wantErr("hold", held, mailflow.ErrState)
		}
	}
}
