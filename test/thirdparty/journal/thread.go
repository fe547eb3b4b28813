// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// checkPostings reports what forbids to write p. It adds what p makes to fresh.
func (t *tables) checkPostings(p *mailflow.Postings, fresh newcomers) error {
	for i := range p.Threads {
		th := &p.Threads[i]
		if th.ID == "" {
			return errors.New("thread without ID")
		}
		if err := take(fresh, "thread", th.ID, t.threads); err != nil {
			return err
		}
		if th.Foreign == "" {
			continue
		}
		if err := take(fresh, "thread of", mailflow.FactKey(th.Model, th.Foreign), t.byForeign()); err != nil {
			return err
		}
	}
	for i := range p.Posts {
		post := &p.Posts[i]
		if post.ID == "" {
			return errors.New("post without ID")
		}
		if err := t.mustHave(post.Thread, fresh); err != nil {
			return fmt.Errorf("post %s: %w", post.ID, err)
		}
		if err := take(fresh, "post", post.ID, t.posts); err != nil {
			return err
		}
	}
	for _, f := range p.Follows {
		if err := t.mustHave(f.Thread, fresh); err != nil {
			return fmt.Errorf("follower %s: %w", f.Contact, err)
		}
	}
	return nil
}

// mustHave returns mailflow.ErrNoRecord for a thread that neither is there
// nor comes.
func (t *tables) mustHave(thread string, fresh newcomers) error {
	if t.threads[thread] == nil && !fresh[[2]string{"thread", thread}] {
		return fmt.Errorf("thread %s: %w", thread, mailflow.ErrNoRecord)
	}
	return nil
}

// changesOfPostings returns the rows of p, which was checked. Applying a post
// updates its thread.
func (s *store) changesOfPostings(p *mailflow.Postings) []change {
	var changes []change
	for i := range p.Threads {
		key := []byte(mailflow.ThreadKey(p.Threads[i].ID))
		changes = append(changes, change{Thread: copyOfThread(&p.Threads[i])}, change{Record: &record{Key: key, Version: 1}})
	}
	for i := range p.Posts {
		changes = append(changes, change{Post: &mailflow.DigestedPost{Post: copyOfPost(&p.Posts[i])}})
	}
	follows := maps.Clone(s.followers)
	for _, f := range p.Follows {
		key := [2]string{f.Thread, f.Contact}
		if _, already := follows[key]; !already && s.contact(f.Contact) >= 0 {
			follows[key] = f
			changes = append(changes, change{Follower: &f})
		}
	}
	return changes
}

// applyPost writes a post, new or changed. A new one updates its thread, and
// its message is needed from now on.
func (t *tables) applyPost(p *mailflow.DigestedPost) {
	if th := t.threads[p.Thread]; th != nil && t.posts[p.ID] == nil && p.At.After(th.Updated) {
		th.Updated = p.At
	}
	t.posts[p.ID] = p
	if m := t.messages[p.Message]; m != nil {
		m.Alone = time.Time{}
	}
}

// applyContact writes or deletes a contact.
func (t *tables) applyContact(c *mailflow.Contact, gone bool) {
	i := t.contact(c.ID)
	switch {
	case gone:
		t.contacts = slices.Delete(t.contacts, i, i+1)
		maps.DeleteFunc(t.followers, func(key [2]string, _ mailflow.Follower) bool { return key[1] == c.ID })
	case i >= 0:
		t.contacts[i] = *c
	default:
		t.contacts = append(t.contacts, *c)
	}
}

// applyAlias writes or deletes an alias.
func (t *tables) applyAlias(a *mailflow.Alias, gone bool) {
	set(t.aliases, a.Address.Key(), *a, gone)
	t.version = max(t.version, a.Version)
}

// renamed adds to changes the posts that get a reference, since their messages
// got other Message-Ids on the way.
func (s *store) renamed(changes []change, ds []mailflow.Delivery) []change {
	posts := maps.Clone(s.posts)
	for _, c := range changes {
		if c.Post != nil {
			posts[c.Post.ID] = c.Post
		}
	}
	for _, d := range ds {
		for id, p := range posts {
			if d.RelayedID == "" || p.Message != d.Message || p.MessageID == d.RelayedID || slices.Contains(p.Refs, d.RelayedID) {
				continue
			}
			named := &mailflow.DigestedPost{Post: copyOfPost(&p.Post), Digest: p.Digest}
			named.Refs = append(named.Refs, d.RelayedID)
			posts[id] = named
			changes = append(changes, change{Post: named})
		}
	}
	return changes
}

// threadOf returns the thread that the application knows by foreign; nil if none.
func (t *tables) threadOf(model, foreign string) *mailflow.Thread {
	return t.byForeign()[mailflow.FactKey(model, foreign)]
}

// byForeign returns the threads that the application knows, by model and ID.
func (t *tables) byForeign() map[string]*mailflow.Thread {
	known := make(map[string]*mailflow.Thread)
	for _, th := range t.threads {
		if th.Foreign != "" {
			known[mailflow.FactKey(th.Model, th.Foreign)] = th
		}
	}
	return known
}

// contact returns the place of a contact; -1 if there is none.
func (t *tables) contact(id string) int {
	return slices.IndexFunc(t.contacts, func(c mailflow.Contact) bool { return c.ID == id })
}

// locked answers by get, with the mutex held.
func locked[T any](ctx context.Context, s *store, get func(view) (T, error)) (T, error) {
	if err := s.begin(ctx); err != nil {
		var none T
		return none, err
	}
	defer s.mu.Unlock()
	return get(view{s})
}

// Thread implements mailflow.ThreadView.
func (v view) Thread(_ context.Context, id string) (*mailflow.Thread, error) {
	return given(id, v.s.threads[id])
}

// ThreadOf implements mailflow.ThreadView.
func (v view) ThreadOf(_ context.Context, model, foreign string) (*mailflow.Thread, error) {
	return given(model+" "+foreign, v.s.threadOf(model, foreign))
}

// given returns a copy of a thread.
func given(name string, th *mailflow.Thread) (*mailflow.Thread, error) {
	if th == nil {
		return nil, fmt.Errorf("thread %s: %w", name, mailflow.ErrNoRecord)
	}
	return copyOfThread(th), nil
}

// Posts implements mailflow.ThreadView. Newest first is the order of the
// IDs, from the last to the first.
func (v view) Posts(_ context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	found := []mailflow.Post{}
	for _, p := range v.s.posts {
		for _, ref := range append([]string{p.MessageID}, p.Refs...) {
			if ref != "" && slices.Contains(refs, ref) {
				found = append(found, copyOfPost(&p.Post))
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Post) int { return cmp.Compare(b.ID, a.ID) })
	return found[:min(len(found), max(limit, 0))], nil
}

// Thread implements mailflow.ThreadView.
func (s *store) Thread(ctx context.Context, id string) (*mailflow.Thread, error) {
	return locked(ctx, s, func(v view) (*mailflow.Thread, error) { return v.Thread(ctx, id) })
}

// ThreadOf implements mailflow.ThreadView.
func (s *store) ThreadOf(ctx context.Context, model, foreign string) (*mailflow.Thread, error) {
	return locked(ctx, s, func(v view) (*mailflow.Thread, error) { return v.ThreadOf(ctx, model, foreign) })
}

// Posts implements mailflow.ThreadView.
func (s *store) Posts(ctx context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Post, error) { return v.Posts(ctx, refs, limit) })
}

// copyOfThread returns a copy of th as it is kept.
func copyOfThread(th *mailflow.Thread) *mailflow.Thread {
	c := *th
	c.Created, c.Updated = micro(th.Created), micro(th.Updated)
	c.Fields = maps.Clone(th.Fields)
	return &c
}

// copyOfPost returns a copy of p as it is kept.
func copyOfPost(p *mailflow.Post) mailflow.Post {
	c := *p
	c.At = micro(p.At)
	c.Refs = slices.Clone(p.Refs)
	return c
}
