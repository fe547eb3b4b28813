// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var boxTests = map[string]func(*storeTest){
	"entries are listed newest first":         testBoxOrder,
	"an entry comes back as it was committed": testBoxRoundTrip,
	"a dropped entry is shown by its ID only": testBoxDrop,
	"an unknown entry cannot be dropped": func(t *storeTest) {
		t.wantErr("drop", t.store.DropUnrouted(t.Context(), "unknown", t.now), mailflow.ErrNoRecord)
	},
	"a message may be both queued and in the box": testBoxBoth,
}

// box checks what waits in the unrouted box.
func (t *storeTest) box(want ...mailflow.Unrouted) {
	t.Helper()
	got, err := t.store.Unrouted(t.Context(), "", 0)
	if err != nil {
		t.Fatalf("Unrouted: %v", err)
	}
	t.same("box", got, want)
}

// addUnrouted commits a message that nothing claims.
func (t *storeTest) addUnrouted(at time.Time, states ...mailflow.State) mailflow.Unrouted {
	t.Helper()
	d := t.decision(states...)
	d.Unrouted = &mailflow.Unrouted{
		Message: d.Message.ID, Recipients: []mailflow.Recipient{rcpt("nobody@example.org")}, Reason: "nothing claims it", At: at,
	}
	return *t.commit(d).Unrouted
}

func testBoxOrder(t *storeTest) {
	t.box()
	b := t.addUnrouted(t.now)
	a := t.addUnrouted(t.now.Add(time.Hour))
	c := t.addUnrouted(t.now.Add(-time.Hour))
	t.box(a, b, c)
	got, err := t.store.Unrouted(t.Context(), "", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.same("limit", got, []mailflow.Unrouted{a, b})
}

func testBoxRoundTrip(t *storeTest) {
	d := t.decision()
	d.Unrouted = &mailflow.Unrouted{
		Message: d.Message.ID, Recipients: fullEnvelope().Recipients, Reason: "reason", At: t.now.Add(1234567 * time.Nanosecond),
	}
	t.commit(d)
	t.box(*d.Unrouted)
}

func testBoxDrop(t *storeTest) {
	u := t.addUnrouted(t.now)
	at := t.now.Add(time.Minute)
	if err := t.store.DropUnrouted(t.Context(), u.Message, at); err != nil {
		t.Fatal(err)
	}
	t.box()
	u.Dropped = at
	got, err := t.store.Unrouted(t.Context(), u.Message, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.same("dropped", got, []mailflow.Unrouted{u})
	t.wantErr("second drop", t.store.DropUnrouted(t.Context(), u.Message, at), mailflow.ErrState)
	t.held(u.Message)
}

func testBoxBoth(t *storeTest) {
	u := t.addUnrouted(t.now, mailflow.StateQueued)
	t.box(u)
	if n := len(t.claim(9)); n != 1 {
		t.Errorf("claimed %d", n)
	}
}

var sweepTests = map[string]func(*storeTest){
	"final deliveries go by their state":             testSweepStates,
	"open deliveries stay":                           testSweepOpen,
	"a message stays with an open delivery":          testSweepShared,
	"a message stays with an unrouted entry":         testSweepUnroutedShared,
	"unrouted entries go":                            testSweepUnrouted,
	"a message that became nothing goes":             testSweepAlone,
	"records and hits go when they expire":           testSweepFacts,
	"a body that is open remains readable":           testSweepBody,
	"a kind without retention is kept":               testSweepForever,
	"more rows than a transaction takes":             testSweepMany,
	"a finished delivery is kept from its finish on": testSweepFromFinish,
	"a dropped delivery is kept from its drop on":    testSweepFromDrop,
}

// day is how long everything is kept in these tests.
const day = 24 * time.Hour

var keepDay = mailflow.Retention{Sent: day, Failed: day, Captured: day, Unrouted: day, Seen: day}

// sweep sweeps as if it were so long after now, and checks how many rows go.
func (t *storeTest) sweep(r mailflow.Retention, later time.Duration, want int) {
	t.Helper()
	if n, err := t.store.Sweep(t.Context(), r, t.now.Add(later)); err != nil || n != want {
		t.Errorf("Sweep after %v: %d rows, %v, want %d", later, n, err, want)
	}
}

func testSweepStates(t *storeTest) {
	for st, r := range map[mailflow.State]mailflow.Retention{
		mailflow.StateSent:     {Sent: day},
		mailflow.StateCaptured: {Captured: day},
		mailflow.StateFailed:   {Failed: day},
		mailflow.StateExpired:  {Failed: day},
		mailflow.StateDropped:  {Failed: day},
	} {
		d := t.add(st)
		keep := keepDay
		keep.Sent, keep.Failed, keep.Captured = 0, 0, 0
		t.sweep(keep, 100*day, 0) // the others are none of its business
		t.sweep(r, day-time.Hour, 0)
		t.held(d.Message.ID)
		t.sweep(r, day+time.Hour, 2) // the delivery and its message
		t.missing(d.Message.ID)
		t.same("list", t.list(mailflow.QueueQuery{Message: d.Message.ID}), []mailflow.Queued{})
	}
	t.depth(nil)
}

func testSweepOpen(t *storeTest) {
	d := t.add(mailflow.StateQueued, mailflow.StateDeferred, mailflow.StateHeld)
	t.sweep(keepDay, 1000*day, 0)
	t.held(d.Message.ID)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 1, mailflow.StateDeferred: 1, mailflow.StateHeld: 1})
}

func testSweepShared(t *storeTest) {
	d := t.add(mailflow.StateSent, mailflow.StateHeld)
	t.sweep(keepDay, 2*day, 1)
	t.held(d.Message.ID)
	t.content(d.Message.ID, []byte("Subject: "+d.Message.ID+"\r\n\r\nHello\r\n"))
	if err := t.act(d.Deliveries[1].ID, mailflow.ActDrop); err != nil {
		t.Fatal(err)
	}
	t.sweep(keepDay, 2*day, 2)
	t.missing(d.Message.ID)
}

func testSweepUnroutedShared(t *storeTest) {
	u := t.addUnrouted(t.now, mailflow.StateSent)
	keep := keepDay
	keep.Unrouted = 10 * day
	t.sweep(keep, 2*day, 1)
	t.held(u.Message)
	t.sweep(keep, 11*day, 2)
	t.missing(u.Message)
}

func testSweepUnrouted(t *storeTest) {
	u, dropped := t.addUnrouted(t.now), t.addUnrouted(t.now)
	if err := t.store.DropUnrouted(t.Context(), dropped.Message, t.now.Add(day)); err != nil {
		t.Fatal(err)
	}
	t.sweep(keepDay, day-time.Hour, 0)
	t.sweep(keepDay, day+time.Hour, 2)
	t.missing(u.Message)
	t.held(dropped.Message) // kept from its drop on
	t.sweep(keepDay, 2*day+time.Hour, 2)
	t.missing(dropped.Message)
}

func testSweepAlone(t *storeTest) {
	d := t.add()
	t.sweep(keepDay, day-time.Hour, 0)
	t.held(d.Message.ID)
	t.sweep(keepDay, day+time.Hour, 1)
	t.missing(d.Message.ID)
}

func testSweepFacts(t *storeTest) {
	record, hit := absent("k"), t.below("w", 10)
	record.Expires, hit.Expires = t.now.Add(time.Hour), t.now.Add(2*time.Hour)
	t.holds(record, hit, absent("forever"), t.below("forever", 10))
	t.sweep(keepDay, time.Minute, 0)
	t.stale(0, absent("k"))
	t.sweep(keepDay, 90*time.Minute, 1)
	t.version("k", 0)
	t.count("w", t.now, 9, 1)
	t.sweep(keepDay, 1000*day, 1)
	t.count("w", t.now, 9, 0)
	t.holds(absent("k"), exists("forever"))
	t.count("forever", t.now, 9, 1)
}

func testSweepBody(t *storeTest) {
	for _, size := range []int{10, 1 << 17} {
		content := random(size)
		d := t.decision(mailflow.StateSent)
		d.Spool = t.spool(content)
		t.commit(d)
		body, err := t.store.Body(t.Context(), d.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.sweep(keepDay, 2*day, 2)
		got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("an open body of %d bytes after the sweep: %d bytes, %v", size, len(got), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		t.missing(d.Message.ID)
	}
}

func testSweepForever(t *storeTest) {
	d := t.add(mailflow.States...)
	u := t.addUnrouted(t.now)
	alone := t.add()
	t.sweep(mailflow.Retention{}, 10000*day, 0)
	t.held(d.Message.ID)
	t.held(u.Message)
	t.held(alone.Message.ID)
}

func testSweepMany(t *storeTest) {
	const n = 1200
	d := t.decision()
	for range n {
		d.Deliveries = append(d.Deliveries, t.delivery(d.Message.ID, mailflow.StateSent))
	}
	t.commit(d)
	t.sweep(keepDay, 2*day, n+1)
	t.missing(d.Message.ID)
	t.depth(nil)
}

func testSweepFromFinish(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	d.Deliveries[0].Created = t.now.Add(-10 * day)
	t.commit(d)
	sent := t.claim(1)[0]
	sent.State = mailflow.StateSent
	t.finish(&mailflow.Outcome{Deliveries: []mailflow.Delivery{sent}})
	t.sweep(keepDay, 0, 0)
	t.held(d.Message.ID)
}

func testSweepFromDrop(t *storeTest) {
	d := t.add(mailflow.StateHeld)
	act := mailflow.QueueAct{Kind: mailflow.ActDrop, At: t.now.Add(5 * day)}
	if err := t.store.Act(t.Context(), d.Deliveries[0].ID, act); err != nil {
		t.Fatal(err)
	}
	t.sweep(keepDay, 5*day+time.Hour, 0)
	t.sweep(keepDay, 6*day+time.Hour, 2)
}

// closedAlready reports whether err says that a store is closed.
func closedAlready(err error) bool { return errors.Is(err, fs.ErrClosed) }
