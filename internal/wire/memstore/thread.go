// SPDX-License-Identifier: Apache-2.0

package memstore

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

// talk is what is known of threads and people.
type talk struct {
	threads   map[string]*mailflow.Thread
	posts     map[string]*mailflow.DigestedPost
	contacts  []mailflow.Contact              // oldest first
	followers map[[2]string]mailflow.Follower // by thread and contact
	aliases   map[string]mailflow.Alias       // by key
	// version is the last that an alias got; none gets one twice, so that one
	// that is dropped and written again is not taken for the old one.
	version int64
}

func newTalk() talk {
	return talk{
		threads: make(map[string]*mailflow.Thread), posts: make(map[string]*mailflow.DigestedPost),
		followers: make(map[[2]string]mailflow.Follower), aliases: make(map[string]mailflow.Alias),
	}
}

// check reports what forbids to write p. It adds what p makes to fresh.
func (t *talk) check(p *mailflow.Postings, fresh newcomers) error {
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

// mustHave returns [mailflow.ErrNoRecord] for a thread that neither is there
// nor comes.
func (t *talk) mustHave(thread string, fresh newcomers) error {
	if t.threads[thread] == nil && !fresh[[2]string{"thread", thread}] {
		return fmt.Errorf("thread %s: %w", thread, mailflow.ErrNoRecord)
	}
	return nil
}

// post writes p, which was checked.
func (s *Store) post(p *mailflow.Postings) {
	for i := range p.Threads {
		s.open(&p.Threads[i])
	}
	for i := range p.Posts {
		post := keptPost(&p.Posts[i])
		s.talk.posts[post.ID] = &mailflow.DigestedPost{Post: post}
		if th := s.talk.threads[post.Thread]; post.At.After(th.Updated) {
			th.Updated = post.At
		}
		if m := s.messages[post.Message]; m != nil {
			m.alone = time.Time{}
		}
	}
	for _, f := range p.Follows {
		key := [2]string{f.Thread, f.Contact}
		if _, follows := s.talk.followers[key]; !follows && s.talk.contact(f.Contact) >= 0 {
			s.talk.followers[key] = f
		}
	}
}

// open writes a new thread and its record.
func (s *Store) open(th *mailflow.Thread) {
	s.talk.threads[th.ID] = keptThread(th)
	s.records[mailflow.ThreadKey(th.ID)] = record{version: 1}
}

// posted reports whether a post refers to a message.
func (s *Store) posted(message string) bool {
	for _, p := range s.talk.posts {
		if p.Message == message {
			return true
		}
	}
	return false
}

// renamed adds a reference to the posts of a message.
func (t *talk) renamed(message, ref string) {
	for _, p := range t.posts {
		if ref != "" && p.Message == message && p.MessageID != ref && !slices.Contains(p.Refs, ref) {
			p.Refs = append(p.Refs, ref)
		}
	}
}

// of returns the thread that the application knows by foreign; nil if none.
func (t *talk) of(model, foreign string) *mailflow.Thread {
	return t.byForeign()[mailflow.FactKey(model, foreign)]
}

// byForeign returns the threads that the application knows, by model and ID.
func (t *talk) byForeign() map[string]*mailflow.Thread {
	known := make(map[string]*mailflow.Thread)
	for _, th := range t.threads {
		if th.Foreign != "" {
			known[mailflow.FactKey(th.Model, th.Foreign)] = th
		}
	}
	return known
}

// contact returns the place of a contact; -1 if there is none.
func (t *talk) contact(id string) int {
	return slices.IndexFunc(t.contacts, func(c mailflow.Contact) bool { return c.ID == id })
}

// locked answers by get, with the mutex held.
func locked[T any](ctx context.Context, s *Store, get func(view) (T, error)) (T, error) {
	if err := s.lock(ctx); err != nil {
		var none T
		return none, err
	}
	defer s.mu.Unlock()
	return get(view{s})
}

// Thread implements [mailflow.ThreadView].
func (v view) Thread(_ context.Context, id string) (*mailflow.Thread, error) {
	return given(id, v.s.talk.threads[id])
}

// ThreadOf implements [mailflow.ThreadView].
func (v view) ThreadOf(_ context.Context, model, foreign string) (*mailflow.Thread, error) {
	return given(model+" "+foreign, v.s.talk.of(model, foreign))
}

// given returns a copy of a thread.
func given(name string, th *mailflow.Thread) (*mailflow.Thread, error) {
	if th == nil {
		return nil, fmt.Errorf("thread %s: %w", name, mailflow.ErrNoRecord)
	}
	return keptThread(th), nil
}

// Posts implements [mailflow.ThreadView]. Newest first is the order of the
// IDs, from the last to the first.
func (v view) Posts(_ context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	found := []mailflow.Post{}
	for _, p := range v.s.talk.posts {
		for _, ref := range append([]string{p.MessageID}, p.Refs...) {
			if ref != "" && slices.Contains(refs, ref) {
				found = append(found, keptPost(&p.Post))
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Post) int { return cmp.Compare(b.ID, a.ID) })
	return found[:min(len(found), max(limit, 0))], nil
}

// Thread implements [mailflow.ThreadView].
func (s *Store) Thread(ctx context.Context, id string) (*mailflow.Thread, error) {
	return locked(ctx, s, func(v view) (*mailflow.Thread, error) { return v.Thread(ctx, id) })
}

// ThreadOf implements [mailflow.ThreadView].
func (s *Store) ThreadOf(ctx context.Context, model, foreign string) (*mailflow.Thread, error) {
	return locked(ctx, s, func(v view) (*mailflow.Thread, error) { return v.ThreadOf(ctx, model, foreign) })
}

// Posts implements [mailflow.ThreadView].
func (s *Store) Posts(ctx context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	return locked(ctx, s, func(v view) ([]mailflow.Post, error) { return v.Posts(ctx, refs, limit) })
}

// keptThread returns a copy of th as it is kept.
func keptThread(th *mailflow.Thread) *mailflow.Thread {
	c := *th
	c.Created, c.Updated = micro(th.Created), micro(th.Updated)
	c.Fields = maps.Clone(th.Fields)
	return &c
}

// keptPost returns a copy of p as it is kept.
func keptPost(p *mailflow.Post) mailflow.Post {
	c := *p
	c.At = micro(p.At)
	c.Refs = slices.Clone(p.Refs)
	return c
}
