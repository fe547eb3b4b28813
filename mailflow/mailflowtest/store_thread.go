// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"errors"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var threadTests = map[string]func(*storeTest){
	"threads and posts come back as they were committed": testThreadRoundTrip,
	"a thread is found by the application's ID":          testThreadForeign,
	"an unknown thread is no record":                     testThreadUnknown,
	"a thread makes its record":                          testThreadRecord,
	"a post to a missing thread commits nothing":         testPostMissing,
	"a post refuses its decision alone":                  testPostAlone,
	"IDs of threads and posts are taken once":            testThreadDuplicate,
	"a thread is as new as its newest post":              testThreadUpdated,
	"posts are found by what answers quote":              testPosts,
	"an id that a relay gave becomes a reference":        testRelayedID,
	"outcomes put mail into threads":                     testFinishPosts,
	"decisions inside the commit see threads":            testThreadDecided,
	"facts on threads and aliases hold":                  testThreadFacts,
	"a thread is written new or changed":                 testPutThread,
	"a post is added to a thread that exists":            testPutPost,
	"followers are added where they are none yet":        testFollows,
	"a routed entry leaves the box":                      testRouteUnrouted,
	"a message of a post is kept":                        testSweepPosts,
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

// quoted checks what posts are found by references.
func (t *storeTest) quoted(refs []string, want ...mailflow.Post) {
	t.Helper()
	got, err := t.store.Posts(t.Context(), refs, 9)
	if err != nil {
		t.Errorf("Posts(%q): %v", refs, err)
		return
	}
	t.same("posts", got, want)
}

// postsOf checks the posts of a thread.
func (t *storeTest) postsOf(thread string, want ...mailflow.DigestedPost) {
	t.Helper()
	got, err := t.store.PostsOf(t.Context(), thread)
	if err != nil {
		t.Errorf("PostsOf(%s): %v", thread, err)
		return
	}
	t.same("posts of thread", got, want)
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

func testPostMissing(t *storeTest) {
	d := t.decision(mailflow.StateQueued)
	th := t.thread()
	lost := t.post("missing")
	d.Postings = mailflow.Postings{Threads: []mailflow.Thread{th}, Posts: []mailflow.Post{t.post(th.ID), lost}}
	d.Facts = []mailflow.Fact{absent("k")}
	t.wantErr("commit", t.store.Commit(t.Context(), d), mailflow.ErrNoRecord)
	t.missing(d.Message.ID)
	_, err := t.store.Thread(t.Context(), th.ID)
	t.wantErr("Thread", err, mailflow.ErrNoRecord)
	t.version("k", 0)
	t.version(mailflow.ThreadKey(th.ID), 0)
	t.quoted([]string{lost.MessageID})
	t.depth(nil)
	d.Posts = d.Posts[:1] // the spool is usable still
	t.commit(d)
	t.isThread(t.updated(th, d.Posts[0]))

	d = t.decision()
	d.Follows = []mailflow.Follower{{Thread: "missing", Contact: "anna"}}
	t.wantErr("a follower of a missing thread", t.store.Commit(t.Context(), d), mailflow.ErrNoRecord)
}

// updated returns th as its post p makes it.
func (*storeTest) updated(th mailflow.Thread, p mailflow.Post) *mailflow.Thread {
	if p.At.After(th.Updated) {
		th.Updated = p.At
	}
	return &th
}

func testPostAlone(t *storeTest) {
	const n = 20
	decisions := make([]*mailflow.Decision, n)
	for i := range decisions {
		decisions[i] = t.decision()
		if i%2 == 0 {
			decisions[i].Posts = []mailflow.Post{t.post("missing")}
		}
	}
	errs := make(chan error, n)
	for _, d := range decisions {
		go func() { errs <- t.store.Commit(t.Context(), d) }()
	}
	refused := 0
	for range n {
		if err := <-errs; err != nil {
			t.wantErr("commit", err, mailflow.ErrNoRecord)
			refused++
		}
	}
	if refused != n/2 {
		t.Errorf("%d of %d decisions were refused", refused, n)
	}
	for i, d := range decisions {
		if i%2 == 0 {
			t.missing(d.Message.ID)
		} else {
			t.held(d.Message.ID)
		}
	}
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

func testPosts(t *storeTest) {
	th, first := t.open()
	_, other := t.open()
	second := t.post(th.ID)
	second.Refs = append(second.Refs, first.MessageID)
	second.At = first.At.Add(-time.Hour) // what the Date says is no order
	if err := t.store.PutPost(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	t.quoted([]string{first.MessageID}, second, *first)
	t.quoted([]string{first.Refs[0]}, *first)
	t.quoted([]string{first.Refs[0], first.MessageID, "<unknown@example.org>", other.MessageID}, second, *other, *first)
	t.quoted([]string{"<unknown@example.org>", ""})
	t.quoted(nil)
	got, err := t.store.Posts(t.Context(), []string{first.MessageID, other.MessageID}, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.same("limit", got, []mailflow.Post{second, *other})
	if got, err = t.store.Posts(t.Context(), []string{first.MessageID}, 0); err != nil || len(got) != 0 {
		t.Errorf("%d posts of none at most, %v", len(got), err)
	}
}

func testRelayedID(t *storeTest) {
	th, p := t.open(mailflow.StateQueued, mailflow.StateQueued)
	claimed := t.claim(2)
	parted := t.delivery(p.Message, mailflow.StateSent)
	for i := range claimed {
		claimed[i].State, claimed[i].RelayedID = mailflow.StateSent, "<relayed@example.net>"
	}
	parted.RelayedID = "<parted@example.net>"
	t.finish(&mailflow.Outcome{Deliveries: claimed, Parted: []mailflow.Delivery{parted}})
	p.Refs = append(p.Refs, "<relayed@example.net>", "<parted@example.net>")
	t.quoted([]string{"<relayed@example.net>"}, *p)
	t.quoted([]string{"<parted@example.net>"}, *p)
	t.postsOf(th.ID, mailflow.DigestedPost{Post: *p})
}

func testFinishPosts(t *storeTest) {
	d := t.add(mailflow.StateQueued)
	claimed := t.claim(1)
	claimed[0].State = mailflow.StateDropped
	th := t.thread()
	p := t.post(th.ID)
	p.Message = d.Message.ID
	lost := mailflow.Outcome{Deliveries: claimed, Postings: mailflow.Postings{Posts: []mailflow.Post{p}}}
	t.wantErr("Finish", t.store.Finish(t.Context(), &lost), mailflow.ErrNoRecord)
	t.quoted([]string{p.MessageID})
	t.finish(&mailflow.Outcome{Deliveries: claimed, Postings: mailflow.Postings{Threads: []mailflow.Thread{th}, Posts: []mailflow.Post{p}}})
	t.isThread(t.updated(th, p))
	t.quoted([]string{p.MessageID}, p)
	t.sweep(keepDay, 1000*day, 1)
	t.held(d.Message.ID)
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

func testPutPost(t *storeTest) {
	p := t.post("missing")
	t.wantErr("PutPost", t.store.PutPost(t.Context(), &p), mailflow.ErrNoRecord)
	th, first := t.open()
	p.Thread, p.At = th.ID, t.now.Add(time.Hour)
	if err := t.store.PutPost(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	t.postsOf(th.ID, t.inOrder(*first, p)...)
	th.Updated = p.At
	t.isThread(th)
	p.ID = ""
	if err := t.store.PutPost(t.Context(), &p); err == nil {
		t.Error("a post without ID is no error")
	}
}

// inOrder returns posts without digests as a thread lists them.
func (*storeTest) inOrder(posts ...mailflow.Post) []mailflow.DigestedPost {
	slices.SortFunc(posts, func(a, b mailflow.Post) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	list := make([]mailflow.DigestedPost, len(posts))
	for i, p := range posts {
		list[i] = mailflow.DigestedPost{Post: p}
	}
	return list
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
	at := t.now.Add(1234567 * time.Nanosecond)
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
	t.sweep(keepDay, 2*day, 3) // both entries, and the message of one
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

// told is what is asked of a store that was filled by fillTalk.
type told struct {
	thread  mailflow.Thread
	post    mailflow.Post
	contact mailflow.Contact
	alias   mailflow.Alias
	dropped int64 // the version of an alias that is dropped
}

// fillTalk writes a row of each kind about threads and people.
func (t *storeTest) fillTalk() *told {
	t.Helper()
	th, p := t.open()
	f := &told{thread: *th, post: *p, contact: t.contact("anna", "anna@example.org"), alias: t.alias("sales@example.org")}
	f.thread.Updated = t.now.Add(-time.Hour) // is what was written last, not what the post says
	errs := []error{
		t.store.PutThread(t.Context(), &f.thread),
		t.store.Follow(t.Context(), mailflow.Follower{Thread: th.ID, Contact: "anna", Notes: true}),
		t.store.PutDigest(t.Context(), p.ID, &mailflow.Digest{Text: "the text"}),
	}
	f.dropped = t.alias("dropped@example.org").Version
	errs = append(errs, t.store.DropAlias(t.Context(), mailflow.MustParseAddress("dropped@example.org")))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return f
}

// filledTalk checks a store that was filled so and opened again.
func (t *storeTest) filledTalk(f *told) {
	t.Helper()
	t.isThread(&f.thread)
	t.quoted(f.post.Refs, f.post)
	t.postsOf(f.thread.ID, mailflow.DigestedPost{Post: f.post, Digest: &mailflow.Digest{Text: "the text"}})
	t.undigested(0)
	t.threads(mailflow.ThreadQuery{Text: "text"}, f.thread.ID)
	t.known("anna@example.org", f.contact)
	t.aliases(addresses("sales@example.org", "dropped@example.org"), f.alias)
	t.followers(f.thread.ID, mailflow.Follower{Thread: f.thread.ID, Contact: "anna", Notes: true})
	if again := t.alias("dropped@example.org"); again.Version <= f.dropped {
		t.Errorf("an alias that is written again gets version %d after %d", again.Version, f.dropped)
	}
	t.content(f.post.Message, []byte("Subject: "+f.post.Message+"\r\n\r\nHello\r\n"))
}
