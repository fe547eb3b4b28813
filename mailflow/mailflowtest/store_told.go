// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"errors"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

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
