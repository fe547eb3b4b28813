// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Threads implements [mailflow.Conversations]. Threads that were updated at
// one time are listed by ID, the last first.
func (s *Store) Threads(ctx context.Context, q mailflow.ThreadQuery) ([]mailflow.Thread, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	before := s.talk.threads[q.Before]
	found := []mailflow.Thread{}
	for _, th := range s.talk.threads {
		switch {
		case q.Model != "" && q.Model != th.Model,
			q.State != "" && q.State != th.State,
			q.Before != "" && (before == nil || byUpdate(*before, *th) >= 0),
			q.Text != "" && !s.talk.says(th, words(q.Text)):
			continue
		}
		found = append(found, *keptThread(th))
	}
	slices.SortFunc(found, byUpdate)
	return found[:min(len(found), limit(q.Limit))], nil
}

// byUpdate is the order of threads: the last updated first.
func byUpdate(a, b mailflow.Thread) int {
	return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.ID, a.ID))
}

// says reports whether all words stand in the thread's name or in one of its
// posts.
func (t *talk) says(th *mailflow.Thread, asked []string) bool {
	if holdAll(th.Name, asked) {
		return true
	}
	for _, p := range t.posts {
		if p.Thread != th.ID || p.Digest == nil && p.Message != "" {
			continue
		}
		text := p.Subject
		if p.Digest != nil {
			text += " " + p.Digest.Text
		}
		if holdAll(text, asked) {
			return true
		}
	}
	return false
}

// holdAll reports whether all words stand in a text; none stands in no text.
func holdAll(text string, asked []string) bool {
	there := words(text)
	for _, word := range asked {
		if !slices.Contains(there, word) {
			return false
		}
	}
	return len(asked) > 0
}

// words returns the words of a text, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
	})
}

// PostsOf implements [mailflow.Conversations].
func (s *Store) PostsOf(ctx context.Context, thread string) ([]mailflow.DigestedPost, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.DigestedPost{}
	for _, id := range slices.Sorted(maps.Keys(s.talk.posts)) {
		if p := s.talk.posts[id]; p.Thread == thread {
			found = append(found, mailflow.DigestedPost{Post: keptPost(&p.Post), Digest: keptDigest(p.Digest)})
		}
	}
	return found, nil
}

// PutThread implements [mailflow.Conversations].
func (s *Store) PutThread(ctx context.Context, th *mailflow.Thread) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	old := s.talk.threads[th.ID]
	if old == nil {
		p := mailflow.Postings{Threads: []mailflow.Thread{*th}}
		if err := s.talk.check(&p, newcomers{}); err != nil {
			return err
		}
		s.post(&p)
		return nil
	}
	if same := s.talk.of(th.Model, th.Foreign); same != nil && same != old {
		return fmt.Errorf("thread of %s %s: %w", th.Model, th.Foreign, mailflow.ErrDuplicate)
	}
	s.talk.threads[th.ID] = keptThread(th)
	return nil
}

// PutPost implements [mailflow.Conversations].
func (s *Store) PutPost(ctx context.Context, post *mailflow.Post) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	p := mailflow.Postings{Posts: []mailflow.Post{*post}}
	if err := s.talk.check(&p, newcomers{}); err != nil {
		return err
	}
	s.post(&p)
	return nil
}

// Undigested implements [mailflow.Conversations].
func (s *Store) Undigested(ctx context.Context, n int) ([]mailflow.Post, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Post{}
	for _, id := range slices.Sorted(maps.Keys(s.talk.posts)) {
		if p := s.talk.posts[id]; p.Message != "" && p.Digest == nil && len(found) < limit(n) {
			found = append(found, keptPost(&p.Post))
		}
	}
	return found, nil
}

// RouteUnrouted implements [mailflow.Conversations].
func (s *Store) RouteUnrouted(ctx context.Context, id string, at time.Time, p mailflow.Postings) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u, err := s.waitingUnrouted(id)
	if err != nil {
		return err
	}
	if err := s.talk.check(&p, newcomers{}); err != nil {
		return err
	}
	u.Routed = micro(at)
	s.post(&p)
	return nil
}

// PutDigest implements [mailflow.Conversations].
func (s *Store) PutDigest(ctx context.Context, post string, d *mailflow.Digest) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	p := s.talk.posts[post]
	if p == nil {
		return fmt.Errorf("post %s: %w", post, mailflow.ErrNoRecord)
	}
	p.Digest = keptDigest(d)
	return nil
}

// keptDigest returns a copy of d as it is kept.
func keptDigest(d *mailflow.Digest) *mailflow.Digest {
	if d == nil {
		return nil
	}
	c := *d
	c.Attachments, c.Flaws = slices.Clone(d.Attachments), slices.Clone(d.Flaws)
	return &c
}
