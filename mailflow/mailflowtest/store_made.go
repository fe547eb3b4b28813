// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"errors"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var madeTests = map[string]func(*storeTest){
	"what was made is committed with its cause": testMade,
	"what was made can refuse its cause":        testMadeRefused,
	"facts of what was made are checked":        testMadeFacts,
	"reports make mail, too":                    testMadeByReport,
}

var receivedTests = map[string]func(*storeTest){
	"messages are listed by ID from a time on": testReceived,
	"a listing goes on where it ended":         testReceivedPages,
}

func testMade(t *storeTest) {
	d, made, deeper := t.decision(), t.decision(mailflow.StateQueued, mailflow.StateQueued), t.decision(mailflow.StateQueued)
	th := t.thread()
	made.Threads = []mailflow.Thread{th}
	made.Claimed = []string{made.Deliveries[0].ID}
	made.Made = []mailflow.Decision{*deeper}
	d.Made = []mailflow.Decision{*made}
	t.commit(d)
	for _, id := range []string{d.Message.ID, made.Message.ID, deeper.Message.ID} {
		t.held(id)
		t.content(id, []byte("Subject: "+id+"\r\n\r\nHello\r\n"))
	}
	t.isThread(&th)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 3})
	t.same("claimed", ids(t.claim(9)), []string{made.Deliveries[1].ID, deeper.Deliveries[0].ID})
}

func testMadeRefused(t *storeTest) {
	old := t.add(mailflow.StateHeld)
	for what, change := range map[string]func(made *mailflow.Decision) error{
		"message": func(made *mailflow.Decision) error {
			made.Message.ID, made.Deliveries = old.Message.ID, nil
			return mailflow.ErrDuplicate
		},
		"delivery": func(made *mailflow.Decision) error {
			made.Deliveries[0].ID = old.Deliveries[0].ID
			return mailflow.ErrDuplicate
		},
		"thread": func(made *mailflow.Decision) error {
			made.Posts = []mailflow.Post{t.post("missing")}
			return mailflow.ErrNoRecord
		},
	} {
		d, made := t.decision(mailflow.StateQueued), t.decision(mailflow.StateQueued)
		want := change(made)
		d.Made = []mailflow.Decision{*made}
		t.wantErr(what, t.store.Commit(t.Context(), d), want)
		t.missing(d.Message.ID)
		t.depth(map[mailflow.State]int{mailflow.StateHeld: 1})
	}
	d := t.decision()
	d.Made = []mailflow.Decision{*t.decision()}
	d.Made[0].Message.ID = d.Message.ID
	t.wantErr("its own ID", t.store.Commit(t.Context(), d), mailflow.ErrDuplicate)
	t.missing(d.Message.ID)
}

func testMadeFacts(t *storeTest) {
	d, made := t.decision(), t.decision()
	d.Facts, made.Facts = []mailflow.Fact{absent("a")}, []mailflow.Fact{absent("b"), exists("c")}
	d.Made = []mailflow.Decision{*made}
	err := t.store.Commit(t.Context(), d)
	var stale *mailflow.StaleError
	if !errors.As(err, &stale) || stale.Fact.Key != "c" {
		t.Errorf("commit: %v, want the fact c", err)
	}
	t.version("a", 0)
	t.version("b", 0)
	t.missing(d.Message.ID)
	t.missing(made.Message.ID)
	t.holds(absent("c"))
	t.commit(d)
	t.version("a", 1)
	t.version("b", 1)
}

func testMadeByReport(t *storeTest) {
	t.add(mailflow.StateQueued)
	claimed := t.claim(1)
	claimed[0].State = mailflow.StateFailed
	report, made := t.decision(mailflow.StateQueued), t.decision(mailflow.StateQueued)
	report.Made = []mailflow.Decision{*made}
	t.finish(&mailflow.Outcome{Deliveries: claimed, Reports: []mailflow.Decision{*report}})
	t.held(report.Message.ID)
	t.held(made.Message.ID)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 2, mailflow.StateFailed: 1})
}

// receivedAt commits a message that came then.
func (t *storeTest) receivedAt(at time.Time) mailflow.StoredMessage {
	t.Helper()
	d := t.decision()
	d.Message.Received = at
	return t.commit(d).Message
}

// received checks which messages were received since then.
func (t *storeTest) received(since time.Time, after string, limit int, want ...mailflow.StoredMessage) {
	t.Helper()
	got, err := t.store.Received(t.Context(), since, after, limit)
	if err != nil {
		t.Errorf("Received: %v", err)
		return
	}
	t.same("received", got, want)
}

func testReceived(t *storeTest) {
	full := t.fullMessage()
	full.Received = t.now.Truncate(time.Second)
	d := t.decision()
	d.Message = full
	t.commit(d)
	second := full.Received
	a := t.receivedAt(second.Add(100 * time.Millisecond))
	b := t.receivedAt(second.Add(20 * time.Millisecond))
	c := t.receivedAt(second.Add(time.Microsecond))
	t.receivedAt(second.Add(-time.Microsecond))
	t.receivedAt(second.Add(-time.Hour))
	t.received(second, "", 0, full, a, b, c)
	t.received(second.Add(time.Microsecond), "", 0, a, b, c)
	t.received(second.Add(2*time.Microsecond), "", 0, a, b)
	t.received(second.Add(50*time.Millisecond), "", 0, a)
	t.received(second.Add(time.Second).In(time.FixedZone("east", 7200)), "", 0)
}

func testReceivedPages(t *storeTest) {
	var all []mailflow.StoredMessage
	for i := range 5 {
		m := t.receivedAt(t.now.Add(time.Duration(-i) * time.Minute))
		if i != 2 {
			all = append(all, m)
		} else {
			t.receivedAt(t.now.Add(-day))
			all = append(all, m)
		}
	}
	since, after := t.now.Add(-time.Hour), ""
	for range all {
		t.received(since, after, 1, all[0])
		after, all = all[0].ID, all[1:]
	}
	t.received(since, after, 1)
}
