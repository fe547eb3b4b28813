// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var postTests = map[string]func(*storeTest){
	"a post to a missing thread commits nothing":  testPostMissing,
	"a post refuses its decision alone":           testPostAlone,
	"posts are found by what answers quote":       testPosts,
	"an id that a relay gave becomes a reference": testRelayedID,
	"outcomes put mail into threads":              testFinishPosts,
	"a post is added to a thread that exists":     testPutPost,
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
	if got, err = t.store.Posts(t.Context(), []string{first.MessageID}, 1); err != nil {
		t.Fatal(err)
	}
	t.same("the newest of one name", got, []mailflow.Post{second})
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

// updated returns th as its post p makes it.
func (*storeTest) updated(th mailflow.Thread, p mailflow.Post) *mailflow.Thread {
	if p.At.After(th.Updated) {
		th.Updated = p.At
	}
	return &th
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
