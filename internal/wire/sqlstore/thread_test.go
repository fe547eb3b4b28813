// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// fillTalk writes some of everything about threads and people.
func fillTalk(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	d, err := decide(ctx, s, "m", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Spool.Discard()
	d.Claimed = []string{d.Deliveries[0].ID}
	d.Threads = []mailflow.Thread{{ID: "t", Model: "ticket", Foreign: "1", Name: "name"}}
	d.Posts = []mailflow.Post{{ID: "p", Thread: "t", Message: "m", MessageID: "<p>", Refs: []string{"<q>"}}}
	d.Follows = []mailflow.Follower{{Thread: "t", Contact: "anna"}}
	d.Facts = []mailflow.Fact{
		{Kind: mailflow.FactExists, Key: "k"}, {Kind: mailflow.FactBelow, Key: "w", Bound: 9, At: time.Now()},
	}
	a := mailflow.MustParseAddress("sales@example.org")
	alias := mailflow.Alias{Address: a, Model: "ticket", AnyDomain: true}
	for _, step := range []func() error{
		func() error {
			return s.PutContact(ctx, &mailflow.Contact{ID: "anna", Addresses: []mailflow.Address{a}})
		},
		func() error { return s.PutAlias(ctx, &alias) },
		func() error {
			return s.write(ctx, 0, func(c *change) error { return c.putRecord("k", 1) })
		},
		func() error { return s.Commit(ctx, d) },
		func() error {
			d.Deliveries[0].State, d.Deliveries[0].RelayedID = mailflow.StateSent, "<r>"
			return s.Finish(ctx, &mailflow.Outcome{Deliveries: d.Deliveries})
		},
		func() error { return s.PutPost(ctx, &mailflow.Post{ID: "q", Thread: "t", Message: "other"}) },
		func() error { return s.PutThread(ctx, &d.Threads[0]) },
		func() error { return s.PutDigest(ctx, "p", &mailflow.Digest{Text: "text"}) },
		func() error { return s.Follow(ctx, mailflow.Follower{Thread: "t", Contact: "anna", Notes: true}) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSearchedText holds that a long text is searched from its start on.
func TestSearchedText(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	text := "first " + strings.Repeat("é", maxSearchedText) + " last"
	if err := s.PutDigest(t.Context(), "p", &mailflow.Digest{Text: text}); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]int{"first": 1, "last": 0} {
		if got, err := s.Threads(t.Context(), mailflow.ThreadQuery{Text: word}); err != nil || len(got) != want {
			t.Errorf("%q is in %d threads, %v", word, len(got), err)
		}
	}
	posts, err := s.PostsOf(t.Context(), "t")
	if err != nil || posts[0].Digest == nil || posts[0].Digest.Text != text {
		t.Errorf("the digest is not whole: %v", err)
	}
}

// TestManyRelayedIDs holds that a mail to many makes no endless row.
func TestManyRelayedIDs(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	ids := make([]mailflow.Delivery, maxPostRefs+10)
	for i := range ids {
		ids[i] = mailflow.Delivery{ID: "d", Message: "m", RelayedID: "<" + strings.Repeat("x", i+1) + ">"}
	}
	if err := s.write(t.Context(), 0, func(c *change) error { return c.renamed(ids) }); err != nil {
		t.Fatal(err)
	}
	posts, err := s.Posts(t.Context(), []string{"<p>"}, 1)
	if err != nil || len(posts) != 1 || len(posts[0].Refs) != maxPostRefs {
		t.Errorf("%d posts, %v", len(posts), err)
	}
}

// TestSameHash holds that a post is found by its names, not by their hashes.
func TestSameHash(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	err := s.write(t.Context(), 0, func(c *change) error { return c.putRef("<other>", "p") })
	if err != nil {
		t.Fatal(err)
	}
	if posts, err := s.Posts(t.Context(), []string{"<other>"}, 9); err != nil || len(posts) != 0 {
		t.Errorf("posts %v, %v", posts, err)
	}
}
