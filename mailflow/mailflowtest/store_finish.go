// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var finishTests = map[string]func(*storeTest){
	"a row is replaced and its claim ends":                testFinish,
	"a deferred delivery is due again":                    testFinishDeferred,
	"parted deliveries are new rows":                      testFinishParted,
	"reports are committed with the rest":                 testFinishReports,
	"an outcome is committed in whole or not at all":      testFinishAtomic,
	"a delivery that is not claimed cannot be finished":   testFinishUnclaimed,
	"an unknown delivery cannot be finished":              testFinishUnknown,
	"final states never leave":                            testFinal,
	"sending is never stored":                             testFinishSending,
	"a delivery that is decided again may be unrouted":    testFinishUnrouted,
	"an unrouted entry gets recipients added":             testFinishUnroutedMerge,
	"a dropped entry that gets recipients waits again":    testFinishUnroutedDropped,
	"several deliveries are finished at once":             testFinishMany,
	"a report's deliveries may be claimed from the start": testFinishReportClaimed,
}

// claimed commits a message with deliveries that wait, and claims them.
func (t *storeTest) claimed(n int) []mailflow.Delivery {
	t.Helper()
	states := make([]mailflow.State, n)
	for i := range states {
		states[i] = mailflow.StateQueued
	}
	t.add(states...)
	ds := t.claim(n)
	if len(ds) != n {
		t.Fatalf("claimed %d deliveries, want %d", len(ds), n)
	}
	return ds
}

func testFinish(t *storeTest) {
	d := t.claimed(1)[0]
	message := d.Message
	want := t.fullDelivery(message)
	want.ID = d.ID
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{want}})
	q := t.stored(d.ID)
	t.same("replaced", q.Delivery, want)
	if q.Claimed {
		t.Error("the claim has not ended")
	}
	t.same("claimed", t.claimWith(mailflow.Claim{Destination: want.Destination, Lane: want.Lane, DueBy: t.now, Limit: 1}), []mailflow.Delivery{want})
}

func testFinishDeferred(t *storeTest) {
	d := t.claimed(1)[0]
	d.State, d.Due, d.Attempts = mailflow.StateDeferred, t.now.Add(time.Minute), 1
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
	t.same("too early", t.claim(1), []mailflow.Delivery{})
	t.same("due", t.claimWith(mailflow.Claim{Destination: "lane", DueBy: d.Due, Limit: 1}), []mailflow.Delivery{d})
	t.depth(map[mailflow.State]int{mailflow.StateDeferred: 1})
}

func testFinishParted(t *storeTest) {
	d := t.claimed(1)[0]
	part := *d.Clone()
	part.ID, part.State = t.id(), mailflow.StateDeferred
	failed := *d.Clone()
	failed.ID, failed.State = t.id(), mailflow.StateFailed
	d.State = mailflow.StateSent
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}, Parted: []mailflow.Delivery{part, failed}})
	t.depth(map[mailflow.State]int{mailflow.StateSent: 1, mailflow.StateDeferred: 1, mailflow.StateFailed: 1})
	t.same("claimed", t.claim(9), []mailflow.Delivery{part})
}

func testFinishReports(t *storeTest) {
	d := t.claimed(1)[0]
	d.State = mailflow.StateFailed
	report := t.decision(mailflow.StateQueued)
	report.Facts = []mailflow.Fact{absent("reported")}
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}, Reports: []mailflow.Decision{*report}})
	t.held(report.Message.ID)
	t.content(report.Message.ID, []byte("Subject: "+report.Message.ID+"\r\n\r\nHello\r\n"))
	t.stale(0, absent("reported"))
	t.same("claimed", ids(t.claim(9)), ids(report.Deliveries))
}

func testFinishReportClaimed(t *storeTest) {
	d := t.claimed(1)[0]
	d.State = mailflow.StateFailed
	report := t.decision(mailflow.StateQueued)
	report.Claimed = ids(report.Deliveries)
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}, Reports: []mailflow.Decision{*report}})
	t.same("claimed", t.claim(9), []mailflow.Delivery{})
}

func testFinishAtomic(t *storeTest) {
	sent := func(d mailflow.Delivery) mailflow.Delivery {
		d.State = mailflow.StateSent
		return d
	}
	other := t.add(mailflow.StateHeld)
	for name, outcome := range map[string]func(d mailflow.Delivery) *mailflow.Outcome{
		"a delivery that is not claimed": func(d mailflow.Delivery) *mailflow.Outcome {
			return &mailflow.Outcome{Deliveries: []mailflow.Delivery{sent(d), sent(other.Deliveries[0])}}
		},
		"a part whose ID is taken": func(d mailflow.Delivery) *mailflow.Outcome {
			return &mailflow.Outcome{Deliveries: []mailflow.Delivery{sent(d)}, Parted: other.Deliveries}
		},
		"a part of no message": func(d mailflow.Delivery) *mailflow.Outcome {
			return &mailflow.Outcome{
				Deliveries: []mailflow.Delivery{sent(d)},
				Parted:     []mailflow.Delivery{t.delivery("unknown", mailflow.StateQueued)},
			}
		},
		"an unrouted entry of no message": func(d mailflow.Delivery) *mailflow.Outcome {
			return &mailflow.Outcome{
				Deliveries: []mailflow.Delivery{sent(d)}, Unrouted: []mailflow.Unrouted{{Message: "unknown", At: t.now}},
			}
		},
		"a report that is there": func(d mailflow.Delivery) *mailflow.Outcome {
			report := t.decision()
			report.Message.ID = other.Message.ID
			return &mailflow.Outcome{Deliveries: []mailflow.Delivery{sent(d)}, Reports: []mailflow.Decision{*report}}
		},
		"a report whose fact is stale": func(d mailflow.Delivery) *mailflow.Outcome {
			good, bad := t.decision(mailflow.StateQueued), t.decision(mailflow.StateQueued)
			bad.Facts = []mailflow.Fact{exists("none")}
			return &mailflow.Outcome{Deliveries: []mailflow.Delivery{sent(d)}, Reports: []mailflow.Decision{*good, *bad}}
		},
	} {
		d := t.claimed(1)[0]
		o := outcome(d)
		if err := t.store.Finish(t.Context(), o); err == nil {
			t.Errorf("an outcome with %s was committed", name)
		}
		q := t.stored(d.ID)
		t.same("after "+name, q.Delivery, d)
		if !q.Claimed {
			t.Errorf("after an outcome with %s the claim has ended", name)
		}
		for _, r := range o.Reports {
			if r.Message.ID != other.Message.ID {
				t.missing(r.Message.ID)
			}
		}
		t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{sent(d)}})
	}
	t.depth(map[mailflow.State]int{mailflow.StateHeld: 1, mailflow.StateSent: 6})
}

func testFinishUnclaimed(t *storeTest) {
	d := t.add(mailflow.StateQueued).Deliveries[0]
	d.State = mailflow.StateSent
	o := &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}}
	t.wantErr("Finish", t.store.Finish(t.Context(), o), mailflow.ErrState)
	t.claim(1)
	if err := t.store.Unclaim(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	t.wantErr("Finish after Unclaim", t.store.Finish(t.Context(), o), mailflow.ErrState)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 1})
}

func testFinishUnknown(t *storeTest) {
	d := t.delivery("unknown", mailflow.StateSent)
	t.wantErr("Finish", t.store.Finish(t.Context(), &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}}), mailflow.ErrNoRecord)
}

func testFinal(t *storeTest) {
	for _, st := range mailflow.States {
		if !st.Final() {
			continue
		}
		d := t.claimed(1)[0]
		d.State = st
		t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
		for _, next := range mailflow.States {
			again := d
			again.State = next
			err := t.store.Finish(t.Context(), &mailflow.Outcome{Deliveries: []mailflow.Delivery{again}})
			t.wantErr(string(st)+" to "+string(next), err, mailflow.ErrState)
		}
		if got := t.stored(d.ID).State; got != st {
			t.Errorf("%s became %s", st, got)
		}
	}
}

func testFinishSending(t *storeTest) {
	d := t.claimed(1)[0]
	d.State = mailflow.StateSending
	if err := t.store.Finish(t.Context(), &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}}); err == nil {
		t.Error("sending was stored")
	}
}

func testFinishMany(t *storeTest) {
	ds := t.claimed(10)
	for i := range ds {
		ds[i].State = mailflow.StateSent
	}
	t.finish(&mailflow.Outcome{Deliveries: ds})
	t.depth(map[mailflow.State]int{mailflow.StateSent: 10})
}

// unroute finishes a delivery as failed and puts its message into the box.
func (t *storeTest) unroute(d mailflow.Delivery, u mailflow.Unrouted) {
	t.Helper()
	d.State = mailflow.StateFailed
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{d}, Unrouted: []mailflow.Unrouted{u}})
}

func testFinishUnrouted(t *storeTest) {
	d := t.claimed(1)[0]
	u := mailflow.Unrouted{Message: d.Message, Recipients: []mailflow.Recipient{rcpt("a@example.org")}, Reason: "why", At: t.now}
	t.unroute(d, u)
	t.box(u)
}

func testFinishUnroutedMerge(t *storeTest) {
	ds := t.claimed(2)
	first := mailflow.Unrouted{Message: ds[0].Message, Recipients: []mailflow.Recipient{rcpt("a@example.org")}, Reason: "first", At: t.now}
	t.unroute(ds[0], first)
	second := mailflow.Unrouted{
		Message: ds[0].Message, Reason: "second", At: t.now.Add(time.Hour),
		Recipients: []mailflow.Recipient{rcpt("A@example.org"), rcpt("b@example.org")},
	}
	t.unroute(ds[1], second)
	first.Recipients = append(first.Recipients, rcpt("b@example.org"))
	t.box(first)
}

func testFinishUnroutedDropped(t *storeTest) {
	ds := t.claimed(2)
	first := mailflow.Unrouted{Message: ds[0].Message, Recipients: []mailflow.Recipient{rcpt("a@example.org")}, Reason: "first", At: t.now}
	t.unroute(ds[0], first)
	if err := t.store.DropUnrouted(t.Context(), first.Message, t.now); err != nil {
		t.Fatal(err)
	}
	second := first
	second.Recipients, second.Reason, second.At = []mailflow.Recipient{rcpt("b@example.org")}, "second", t.now.Add(time.Hour)
	t.unroute(ds[1], second)
	second.Recipients = []mailflow.Recipient{rcpt("a@example.org"), rcpt("b@example.org")}
	t.box(second)
}
