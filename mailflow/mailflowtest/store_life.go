// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var lifeTests = map[string]func(*storeTest){
	"an open store is ready":              testReady,
	"a closed store does nothing":         testClosed,
	"an ended context is told everywhere": testContexts,
}

func testReady(t *storeTest) {
	if err := t.store.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// calls are all methods that can fail, on some delivery or message.
func (t *storeTest) calls(id string, d *mailflow.Decision) map[string]func(context.Context) error {
	calls := t.threadCalls()
	maps.Copy(calls, map[string]func(context.Context) error{
		"Version": func(ctx context.Context) error { _, err := t.store.Version(ctx, "k"); return err },
		"Hits":    func(ctx context.Context) error { _, err := t.store.Hits(ctx, "k", t.now); return err },
		"Value": func(ctx context.Context) error {
			if _, _, err := t.store.Value(ctx, "k"); !errors.Is(err, mailflow.ErrNoRecord) {
				return err
			}
			return nil
		},
		"SetValue": func(ctx context.Context) error { return t.store.SetValue(ctx, "new", nil, 0) },
		"Count":    func(ctx context.Context) error { _, err := t.store.Count(ctx, "k", t.now, 1); return err },
		"Spool":    func(ctx context.Context) error { _, err := t.store.Spool(ctx); return err },
		"Commit":   func(ctx context.Context) error { return t.store.Commit(ctx, d) },
		"CommitDecided": func(ctx context.Context) error {
			return t.store.CommitDecided(ctx, func(mailflow.View) (*mailflow.Decision, error) { return d, nil })
		},
		"Message":    func(ctx context.Context) error { _, err := t.store.Message(ctx, id); return err },
		"Body":       func(ctx context.Context) error { _, err := t.store.Body(ctx, id); return err },
		"ClaimDue":   func(ctx context.Context) error { _, err := t.store.ClaimDue(ctx, mailflow.Claim{Limit: 1}); return err },
		"Lanes":      func(ctx context.Context) error { _, err := t.store.Lanes(ctx); return err },
		"Finish":     func(ctx context.Context) error { return t.store.Finish(ctx, new(mailflow.Outcome)) },
		"Unclaim":    func(ctx context.Context) error { return t.store.Unclaim(ctx, id) },
		"Deliveries": func(ctx context.Context) error { _, err := t.store.Deliveries(ctx, mailflow.QueueQuery{}); return err },
		"Act": func(ctx context.Context) error {
			return t.store.Act(ctx, id, mailflow.QueueAct{Kind: mailflow.ActDrop})
		},
		"Depth":        func(ctx context.Context) error { _, err := t.store.Depth(ctx); return err },
		"Unrouted":     func(ctx context.Context) error { _, err := t.store.Unrouted(ctx, "", 0); return err },
		"DropUnrouted": func(ctx context.Context) error { return t.store.DropUnrouted(ctx, id, t.now) },
		"Sweep":        func(ctx context.Context) error { _, err := t.store.Sweep(ctx, keepDay, t.now); return err },
		"Ready":        func(ctx context.Context) error { return t.store.Ready(ctx) },
		"Received":     func(ctx context.Context) error { _, err := t.store.Received(ctx, t.now, "", 1); return err },
	})
	return calls
}

// threadCalls are the methods about threads and people.
func (t *storeTest) threadCalls() map[string]func(context.Context) error {
	a := mailflow.MustParseAddress("someone@example.org")
	return map[string]func(context.Context) error{
		"Thread":        func(ctx context.Context) error { _, err := t.store.Thread(ctx, "k"); return err },
		"ThreadOf":      func(ctx context.Context) error { _, err := t.store.ThreadOf(ctx, "m", "k"); return err },
		"Posts":         func(ctx context.Context) error { _, err := t.store.Posts(ctx, []string{"k"}, 1); return err },
		"Contacts":      func(ctx context.Context) error { _, err := t.store.Contacts(ctx, a); return err },
		"Followers":     func(ctx context.Context) error { _, err := t.store.Followers(ctx, "k"); return err },
		"Aliases":       func(ctx context.Context) error { _, err := t.store.Aliases(ctx, []mailflow.Address{a}); return err },
		"Threads":       func(ctx context.Context) error { _, err := t.store.Threads(ctx, mailflow.ThreadQuery{}); return err },
		"PostsOf":       func(ctx context.Context) error { _, err := t.store.PostsOf(ctx, "k"); return err },
		"PutThread":     func(ctx context.Context) error { return t.store.PutThread(ctx, &mailflow.Thread{ID: "new"}) },
		"PutPost":       func(ctx context.Context) error { return t.store.PutPost(ctx, &mailflow.Post{ID: "new", Thread: "new"}) },
		"Undigested":    func(ctx context.Context) error { _, err := t.store.Undigested(ctx, 1); return err },
		"RouteUnrouted": func(ctx context.Context) error { return t.store.RouteUnrouted(ctx, "k", t.now, mailflow.Postings{}) },
		"PutDigest":     func(ctx context.Context) error { return t.store.PutDigest(ctx, "k", new(mailflow.Digest)) },
		"PutContact":    func(ctx context.Context) error { return t.store.PutContact(ctx, &mailflow.Contact{ID: "new"}) },
		"DropContact":   func(ctx context.Context) error { return t.store.DropContact(ctx, "k") },
		"ContactList":   func(ctx context.Context) error { _, err := t.store.ContactList(ctx, 1); return err },
		"PutAlias":      func(ctx context.Context) error { return t.store.PutAlias(ctx, &mailflow.Alias{Address: a}) },
		"DropAlias":     func(ctx context.Context) error { return t.store.DropAlias(ctx, a) },
		"AliasList":     func(ctx context.Context) error { _, err := t.store.AliasList(ctx); return err },
		"Follow":        func(ctx context.Context) error { return t.store.Follow(ctx, mailflow.Follower{Thread: "k"}) },
		"Unfollow":      func(ctx context.Context) error { return t.store.Unfollow(ctx, "k", "k") },
	}
}

func testClosed(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	calls := t.calls(d.Message.ID, d)
	if err := t.store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(t.Context()); !closedAlready(err) {
			t.Errorf("%s of a closed store: %v", name, err)
		}
	}
	if err := t.store.Close(); err == nil {
		t.Error("a second Close is no error")
	}
}

func testContexts(t *storeTest) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := t.decision(mailflow.StateQueued)
	for name, call := range t.calls(d.Message.ID, d) {
		t.wantErr(name, call(ctx), context.Canceled)
	}
	t.missing(d.Message.ID)
}

// reopen checks what a store keeps over Close and Open, and that it is opened
// once at a time.
func (s StoreSuite) reopen(t *testing.T) {
	t.Helper()
	opener := s.Opener(t)
	contents := [][]byte{[]byte("small"), random(1 << 17)}
	first := startWith(t, opener)
	kept, listed := first.fill(contents)
	talk := first.fillTalk()
	if other, err := opener.Open(t.Context()); err == nil {
		t.Error("the store was opened twice at once")
		_ = other.Close()
	}
	lost := first.spool(contents[1]) // never committed
	if err := first.store.Close(); err != nil {
		t.Fatal(err)
	}
	lost.Discard()

	second := startWith(t, opener)
	second.next, second.now = first.next, first.now
	for i, d := range kept {
		second.content(d.Message.ID, contents[i])
		second.stale(0, absent(d.Message.ID))
	}
	second.filled(listed)
	second.filledTalk(talk)
}

// fill commits a message with each content and a delivery in each state. It
// returns what was committed and how it is listed.
func (t *storeTest) fill(contents [][]byte) ([]*mailflow.Decision, []mailflow.Queued) {
	t.Helper()
	var kept []*mailflow.Decision
	for _, content := range contents {
		d := t.decision(mailflow.States...)
		d.Spool = t.spool(content)
		d.Claimed = ids(d.Deliveries[:1])
		d.Unrouted = &mailflow.Unrouted{Message: d.Message.ID, Reason: "why", At: t.now}
		d.Facts = []mailflow.Fact{absent(d.Message.ID), t.below("w", 9)}
		kept = append(kept, t.commit(d))
	}
	t.finish(&mailflow.Outcome{Hits: []mailflow.Hit{{Key: "h", At: t.now, Count: 70}, {Key: "h", At: t.now, Count: 7}}})
	t.set("v", []byte("kept"), 0)
	return kept, t.list(mailflow.QueueQuery{})
}

// filled checks a store that was filled with two messages and opened again.
func (t *storeTest) filled(listed []mailflow.Queued) {
	t.Helper()
	for i := range listed {
		listed[i].Claimed = false // claims end with the claimer
	}
	t.same("deliveries", t.list(mailflow.QueueQuery{}), listed)
	t.count("w", t.now.Add(-time.Hour), 9, 2)
	t.hits("h", t.now, mailflow.Hit{Key: "h", At: t.now, Count: 77})
	t.value("v", []byte("kept"))
	want := make(map[mailflow.State]int)
	for _, st := range mailflow.States {
		want[st] = 2
	}
	t.depth(want)
	if n := len(t.claim(9)); n != 4 {
		t.Errorf("%d deliveries were claimed after opening again, want 4", n)
	}
	if list, err := t.store.Unrouted(t.Context(), "", 0); err != nil || len(list) != 2 {
		t.Errorf("%d unrouted entries after opening again: %v", len(list), err)
	}
}
