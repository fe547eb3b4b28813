// SPDX-License-Identifier: Apache-2.0

package journal

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

// Threads implements mailflow.Conversations. Threads that were updated at
// one time are listed by ID, the last first.
func (s *store) Threads(ctx context.Context, q mailflow.ThreadQuery) ([]mailflow.Thread, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	before := s.threads[q.Before]
	found := []mailflow.Thread{}
	for _, th := range s.threads {
		switch {
		case q.Model != "" && q.Model != th.Model,
			q.State != "" && q.State != th.State,
			q.Before != "" && (before == nil || byUpdate(*before, *th) >= 0),
			q.Text != "" && !s.says(th, words(q.Text)):
			continue
		}
		found = append(found, *copyOfThread(th))
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
func (t *tables) says(th *mailflow.Thread, asked []string) bool {
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

// PostsOf implements mailflow.Conversations.
func (s *store) PostsOf(ctx context.Context, thread string) ([]mailflow.DigestedPost, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.DigestedPost{}
	for _, id := range slices.Sorted(maps.Keys(s.posts)) {
		if p := s.posts[id]; p.Thread == thread {
			found = append(found, mailflow.DigestedPost{Post: copyOfPost(&p.Post), Digest: copyOfDigest(p.Digest)})
		}
	}
	return found, nil
}

// PutThread implements mailflow.Conversations.
func (s *store) PutThread(ctx context.Context, th *mailflow.Thread) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	old := s.threads[th.ID]
	if old == nil {
		p := mailflow.Postings{Threads: []mailflow.Thread{*th}}
		if err := s.checkPostings(&p, newcomers{}); err != nil {
			return err
		}
		return s.write(s.changesOfPostings(&p))
	}
	if same := s.threadOf(th.Model, th.Foreign); same != nil && same != old {
		return fmt.Errorf("thread of %s %s: %w", th.Model, th.Foreign, mailflow.ErrDuplicate)
	}
	return s.write([]change{{Thread: copyOfThread(th)}})
}

// PutPost implements mailflow.Conversations.
func (s *store) PutPost(ctx context.Context, post *mailflow.Post) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	p := mailflow.Postings{Posts: []mailflow.Post{*post}}
	if err := s.checkPostings(&p, newcomers{}); err != nil {
		return err
	}
	return s.write(s.changesOfPostings(&p))
}

// Undigested implements mailflow.Conversations.
func (s *store) Undigested(ctx context.Context, n int) ([]mailflow.Post, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := []mailflow.Post{}
	for _, id := range slices.Sorted(maps.Keys(s.posts)) {
		if p := s.posts[id]; p.Message != "" && p.Digest == nil && len(found) < limit(n) {
			found = append(found, copyOfPost(&p.Post))
		}
	}
	return found, nil
}

// RouteUnrouted implements mailflow.Conversations.
func (s *store) RouteUnrouted(ctx context.Context, id string, at time.Time, p mailflow.Postings) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u, err := s.waitingUnrouted(id)
	if err != nil {
		return err
	}
	if err := s.checkPostings(&p, newcomers{}); err != nil {
		return err
	}
	routed := *u
	routed.Routed = micro(at)
	return s.write(append(s.changesOfPostings(&p), change{Unrouted: &routed}))
}

// PutDigest implements mailflow.Conversations.
func (s *store) PutDigest(ctx context.Context, post string, d *mailflow.Digest) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	p := s.posts[post]
	if p == nil {
		return fmt.Errorf("post %s: %w", post, mailflow.ErrNoRecord)
	}
	return s.write([]change{{Post: &mailflow.DigestedPost{Post: p.Post, Digest: d}}})
}

// copyOfDigest returns a copy of d as it is kept.
func copyOfDigest(d *mailflow.Digest) *mailflow.Digest {
	if d == nil {
		return nil
	}
	c := *d
	c.Attachments, c.Flaws = slices.Clone(d.Attachments), slices.Clone(d.Flaws)
	return &c
}
