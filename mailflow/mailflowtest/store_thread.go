// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var threadTests = map[string]func(*storeTest){
	"threads and posts come back as they were committed": testThreadRoundTrip,
	"a thread is found by the application's ID":          testThreadForeign,
	"an unknown thread is no record":                     testThreadUnknown,
	"a thread makes its record":                          testThreadRecord,
	"IDs of threads and posts are taken once":            testThreadDuplicate,
	"a thread is as new as its newest post":              testThreadUpdated,
	"decisions inside the commit see threads":            testThreadDecided,
	"facts on threads and aliases hold":                  testThreadFacts,
	"a thread is written new or changed":                 testPutThread,
	"followers are added where they are none yet":        testFollows,
	"a routed entry leaves the box":                      testRouteUnrouted,
	"a routed entry waits again for what is new":         testUnroutedAgain,
	"a message of a post is kept":                        testSweepPosts,
	"messages that are kept do not keep others":          testSweepBehindPosts,
}

// thread returns a thread with every field set.
func (t *storeTest) thread() mailflow.Thread {
	id := t.id()
	return mailflow.Thread{
		ID: id, Model: "crm.lead", Foreign: "f" + id, Name: "Grüße \u2028 'quoted'", From: `"Jörg" <joerg@example.org>`,
		Domain: "example.org", Fields: map[string]string{"team": "7", "": "empty"}, Responsible: "anna", State: mailflow.ThreadOpen,
		Created: t.now.Add(1234567 * time.Nanosecond), Updated: t.now.Add(2345678 * time.Nanosecond),
	}
}

// post returns a post with every field set but for a message.
func (t *storeTest) post(thread string) mailflow.Post {
	id := t.id()
	return mailflow.Post{
		ID: id, Thread: thread, MessageID: "<" + id + "@example.org>", Refs: []string{"<other-" + id + "@example.org>"},
		Parent: "parent", Author: "anna", From: `"Jörg" <joerg@example.org>`, Kind: mailflow.PostNote, Subject: "Über " + id,
		Weak: "by its subject", At: t.now.Add(3456789 * time.Nanosecond),
	}
}

// open commits a message that opens a thread.
func (t *storeTest) open(states ...mailflow.State) (*mailflow.Thread, *mailflow.Post) {
	t.Helper()
	d := t.decision(states...)
	th := t.thread()
	p := t.post(th.ID)
	p.Message = d.Message.ID
	d.Postings = mailflow.Postings{Threads: []mailflow.Thread{th}, Posts: []mailflow.Post{p}}
	t.commit(d)
	if p.At.After(th.Updated) {
		th.Updated = p.At
	}
	return &th, &p
}

// isThread checks a thread as it is stored.
func (t *storeTest) isThread(want *mailflow.Thread) {
	t.Helper()
	got, err := t.store.Thread(t.Context(), want.ID)
	if err != nil {
		t.Errorf("Thread(%s): %v", want.ID, err)
		return
	}
	t.same("thread", got, want)
}

func testThreadRoundTrip(t *storeTest) {
	th, p := t.open()
	t.isThread(th)
	t.postsOf(th.ID, mailflow.DigestedPost{Post: *p})
	t.postsOf("unknown")
}

func testThreadForeign(t *storeTest) {
	th, _ := t.open()
	got, err := t.store.ThreadOf(t.Context(), th.Model, th.Foreign)
	if err != nil {
		t.Fatal(err)
	}
	t.same("thread", got, th)
	_, err = t.store.ThreadOf(t.Context(), "other", th.Foreign)
	t.wantErr("another model", err, mailflow.ErrNoRecord)
	bare := t.thread()
	bare.Foreign = ""
	second := bare
	second.ID = t.id()
	for _, th := range []mailflow.Thread{bare, second} {
		if err := t.store.PutThread(t.Context(), &th); err != nil {
			t.Fatal(err)
		}
	}
	_, err = t.store.ThreadOf(t.Context(), bare.Model, "")
	t.wantErr("no foreign ID", err, mailflow.ErrNoRecord)
}

func testThreadUnknown(t *storeTest) {
	_, err := t.store.Thread(t.Context(), "unknown")
	t.wantErr("Thread", err, mailflow.ErrNoRecord)
	t.version(mailflow.ThreadKey("unknown"), 0)
}

func testThreadRecord(t *storeTest) {
	th, _ := t.open()
	t.version(mailflow.ThreadKey(th.ID), 1)
	put := t.thread()
	for range 2 {
		if err := t.store.PutThread(t.Context(), &put); err != nil {
			t.Fatal(err)
		}
		t.version(mailflow.ThreadKey(put.ID), 1)
	}
	t.sweep(keepDay, 1000*day, 0)
	t.holds(exists(mailflow.ThreadKey(th.ID)), exists(mailflow.ThreadKey(put.ID)))
}

func testThreadDuplicate(t *storeTest) {
	th, p := t.open()
	another := t.thread()
	same := t.thread()
	same.Foreign = th.Foreign
	for what, postings := range map[string]mailflow.Postings{
		"thread":     {Threads: []mailflow.Thread{another, *th}},
		"foreign ID": {Threads: []mailflow.Thread{another, same}},
		"twice":      {Threads: []mailflow.Thread{another, another}},
		"post":       {Threads: []mailflow.Thread{another}, Posts: []mailflow.Post{*p}},
		"post twice": {Threads: []mailflow.Thread{another}, Posts: slices.Repeat([]mailflow.Post{t.post(th.ID)}, 2)},
	} {
		d := t.decision()
		d.Postings = postings
		t.wantErr(what, t.store.Commit(t.Context(), d), mailflow.ErrDuplicate)
		t.missing(d.Message.ID)
	}
	_, err := t.store.Thread(t.Context(), another.ID)
	t.wantErr("Thread", err, mailflow.ErrNoRecord)
	t.wantErr("PutThread", t.store.PutThread(t.Context(), &same), mailflow.ErrDuplicate)
	t.wantErr("PutPost", t.store.PutPost(t.Context(), p), mailflow.ErrDuplicate)
	t.isThread(th)
}

func testThreadUpdated(t *storeTest) {
	th, _ := t.open()
	d := t.decision()
	later, earlier := t.post(th.ID), t.post(th.ID)
	later.At, earlier.At = t.now.Add(time.Hour), t.now.Add(-1000*time.Hour)
	d.Posts = []mailflow.Post{later, earlier}
	t.commit(d)
	th.Updated = later.At
	t.isThread(th)
}

func testThreadDecided(t *storeTest) {
	th, p := t.open()
	t.contact("anna", "anna@example.org")
	t.alias("sales@example.org")
	d := t.decision()
	err := t.store.CommitDecided(t.Context(), func(v mailflow.View) (*mailflow.Decision, error) {
		ctx := t.Context()
		got, err := v.Thread(ctx, th.ID)
		if err != nil {
			return nil, err
		}
		t.same("thread", got, th)
		if _, err := v.ThreadOf(ctx, th.Model, th.Foreign); err != nil {
			return nil, err
		}
		posts, err := v.Posts(ctx, []string{p.MessageID}, 9)
		contacts, err2 := v.Contacts(ctx, mailflow.MustParseAddress("anna@example.org"))
		aliases, err3 := v.Aliases(ctx, []mailflow.Address{mailflow.MustParseAddress("sales@example.org")})
		followers, err4 := v.Followers(ctx, th.ID)
		if len(posts) != 1 || len(contacts) != 1 || len(aliases) != 1 || len(followers) != 0 {
			t.Errorf("inside the commit: %v %v, %v %v, %v %v, %v %v", posts, err, contacts, err2, aliases, err3, followers, err4)
		}
		answer := t.post(th.ID)
		d.Posts = []mailflow.Post{answer}
		return d, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.quoted([]string{d.Posts[0].MessageID}, d.Posts[0])
}

func testThreadFacts(t *storeTest) {
	t.stale(0, exists(mailflow.ThreadKey("th")))
	th := t.thread()
	a := t.alias("sales@example.org")
	if err := t.store.PutThread(t.Context(), &th); err != nil {
		t.Fatal(err)
	}
	key := mailflow.AliasKey(a.Address)
	t.holds(exists(mailflow.ThreadKey(th.ID)), version(key, a.Version))
	changed := t.alias("sales@example.org")
	t.stale(1, exists(mailflow.ThreadKey(th.ID)), version(key, a.Version))
	t.holds(version(key, changed.Version))
	if err := t.store.DropAlias(t.Context(), a.Address); err != nil {
		t.Fatal(err)
	}
	t.stale(0, version(key, changed.Version))
	t.stale(0, exists(key))
	again := t.alias("sales@example.org")
	t.stale(0, version(key, changed.Version)) // it is another one
	t.holds(version(key, again.Version), exists(key))
}

func testPutThread(t *storeTest) {
	th := t.thread()
	for range 2 {
		if err := t.store.PutThread(t.Context(), &th); err != nil {
			t.Fatal(err)
		}
		t.isThread(&th)
		th.Model, th.Foreign, th.Name, th.State, th.Fields = "project.task", "", "other", "done", nil
		th.Updated = t.now.Add(-time.Hour)
	}
	_, err := t.store.ThreadOf(t.Context(), "crm.lead", "f"+th.ID)
	t.wantErr("by the former ID", err, mailflow.ErrNoRecord)
	if err := t.store.PutThread(t.Context(), new(mailflow.Thread)); err == nil {
		t.Error("a thread without ID is no error")
	}
}

func testFollows(t *storeTest) {
	t.contact("anna", "anna@example.org")
	t.contact("bob", "bob@example.org")
	th, _ := t.open()
	notes := mailflow.Follower{Thread: th.ID, Contact: "anna", Notes: true}
	if err := t.store.Follow(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	d := t.decision()
	bob := mailflow.Follower{Thread: th.ID, Contact: "bob"}
	d.Follows = []mailflow.Follower{
		{Thread: th.ID, Contact: "anna"}, bob, {Thread: th.ID, Contact: "bob", Notes: true}, {Thread: th.ID, Contact: "gone"},
	}
	t.commit(d)
	t.followers(th.ID, notes, bob)
}

func testRouteUnrouted(t *storeTest) {
	u, other := t.addUnrouted(t.now), t.addUnrouted(t.now.Add(-time.Hour))
	th := t.thread()
	p := t.post(th.ID)
	p.Message = u.Message
	at := t.now.Add(day + 1234567*time.Nanosecond)
	route := func(id string, p mailflow.Postings) error { return t.store.RouteUnrouted(t.Context(), id, at, p) }
	t.wantErr("no entry", route("unknown", mailflow.Postings{}), mailflow.ErrNoRecord)
	t.wantErr("no thread", route(u.Message, mailflow.Postings{Posts: []mailflow.Post{p}}), mailflow.ErrNoRecord)
	t.box(u, other)
	postings := mailflow.Postings{Threads: []mailflow.Thread{th}, Posts: []mailflow.Post{p}}
	if err := route(u.Message, postings); err != nil {
		t.Fatal(err)
	}
	t.box(other)
	t.isThread(t.updated(th, p))
	t.quoted([]string{p.MessageID}, p)
	u.Routed = at
	got, err := t.store.Unrouted(t.Context(), u.Message, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.same("routed", got, []mailflow.Unrouted{u})
	t.wantErr("twice", route(u.Message, mailflow.Postings{}), mailflow.ErrState)
	t.wantErr("drop", t.store.DropUnrouted(t.Context(), u.Message, at), mailflow.ErrState)
	if err := t.store.DropUnrouted(t.Context(), other.Message, at); err != nil {
		t.Fatal(err)
	}
	t.wantErr("a dropped one", route(other.Message, mailflow.Postings{}), mailflow.ErrState)
	t.sweep(keepDay, day+time.Hour, 0)   // both are kept from their ends on
	t.sweep(keepDay, 2*day+time.Hour, 3) // both entries, and the message of one
	t.held(u.Message)
	t.missing(other.Message)
}

func testSweepPosts(t *storeTest) {
	_, sent := t.open(mailflow.StateSent)
	_, alone := t.open()
	late := t.add() // becomes a post after its commit
	p := t.post(sent.Thread)
	p.Message = late.Message.ID
	if err := t.store.PutPost(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	gone := t.add()
	t.sweep(keepDay, 1000*day, 2) // the delivery, and gone
	t.missing(gone.Message.ID)
	for _, id := range []string{sent.Message, alone.Message, late.Message.ID} {
		t.held(id)
		t.content(id, []byte("Subject: "+id+"\r\n\r\nHello\r\n"))
	}
}

func testSweepBehindPosts(t *storeTest) {
	th, _ := t.open()
	const n = 1200 // more of each kind than one transaction of a sweep may look at
	first, late := t.decision(), t.decision()
	for i := range n {
		made := t.decision()
		p := t.post(th.ID)
		p.Message = made.Message.ID
		if i%2 == 0 {
			made.Posts = []mailflow.Post{p}
		} else {
			late.Posts = append(late.Posts, p)
		}
		first.Made = append(first.Made, *made)
	}
	t.commit(first)
	t.commit(late)
	t.sweep(keepDay, 2*day, 2) // the first and the last, which became nothing
	t.missing(late.Message.ID)
	t.held(first.Made[n-2].Message.ID)
	t.held(first.Made[n-1].Message.ID)
}

func testUnroutedAgain(t *storeTest) {
	u := t.addUnrouted(t.now, mailflow.StateQueued)
	if err := t.store.RouteUnrouted(t.Context(), u.Message, t.now, mailflow.Postings{}); err != nil {
		t.Fatal(err)
	}
	t.box()
	claimed := t.claim(1)
	claimed[0].State = mailflow.StateDropped
	more := mailflow.Unrouted{
		Message: u.Message, Recipients: []mailflow.Recipient{rcpt("other@example.org")}, Reason: "decided again", At: t.now.Add(time.Minute),
	}
	t.finish(&mailflow.Outcome{Deliveries: claimed, Unrouted: []mailflow.Unrouted{more}})
	more.Recipients = append(u.Recipients, more.Recipients...)
	t.box(more)
}
