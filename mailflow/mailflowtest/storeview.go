// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Holdings is what a [View] answers about threads and people.
type Holdings struct {
	Threads []mailflow.Thread
	// Posts need no order: newest first is that of their IDs.
	Posts []mailflow.Post
	// Contacts are listed oldest first.
	Contacts  []mailflow.Contact
	Followers []mailflow.Follower
	Aliases   []mailflow.Alias
}

// Thread implements mailflow.ThreadView.
func (v *View) Thread(_ context.Context, id string) (*mailflow.Thread, error) {
	return v.thread("thread "+id, func(t *mailflow.Thread) bool { return t.ID == id })
}

// ThreadOf implements mailflow.ThreadView.
func (v *View) ThreadOf(_ context.Context, model, foreign string) (*mailflow.Thread, error) {
	return v.thread("thread of "+model+" "+foreign, func(t *mailflow.Thread) bool {
		return foreign != "" && t.Model == model && t.Foreign == foreign
	})
}

// thread returns the first thread that is meant.
func (v *View) thread(what string, is func(*mailflow.Thread) bool) (*mailflow.Thread, error) {
	if v.Fail != nil {
		return nil, v.Fail
	}
	for _, t := range v.Held.Threads {
		if is(&t) {
			return &t, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", what, mailflow.ErrNoRecord)
}

// Posts implements mailflow.ThreadView.
func (v *View) Posts(_ context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	found := []mailflow.Post{}
	for _, p := range v.Held.Posts {
		for _, ref := range append([]string{p.MessageID}, p.Refs...) {
			if ref != "" && slices.Contains(refs, ref) {
				found = append(found, p)
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b mailflow.Post) int { return cmp.Compare(b.ID, a.ID) })
	return found[:min(len(found), max(limit, 0))], v.Fail
}

// Contacts implements mailflow.ThreadView.
func (v *View) Contacts(_ context.Context, a mailflow.Address) ([]mailflow.Contact, error) {
	found := []mailflow.Contact{}
	for _, c := range v.Held.Contacts {
		if slices.ContainsFunc(c.Addresses, a.Is) {
			found = append(found, c)
		}
	}
	return found, v.Fail
}

// Followers implements mailflow.ThreadView.
func (v *View) Followers(_ context.Context, thread string) ([]mailflow.Follower, error) {
	found := []mailflow.Follower{}
	for _, f := range v.Held.Followers {
		if f.Thread == thread {
			found = append(found, f)
		}
	}
	return found, v.Fail
}

// Aliases implements mailflow.ThreadView.
func (v *View) Aliases(_ context.Context, as []mailflow.Address) ([]mailflow.Alias, error) {
	found := []mailflow.Alias{}
	for _, alias := range v.Held.Aliases {
		if slices.ContainsFunc(as, func(a mailflow.Address) bool {
			return a.Is(alias.Address) || alias.AnyDomain && strings.EqualFold(a.Local, alias.Address.Local)
		}) {
			found = append(found, alias)
		}
	}
	return found, v.Fail
}
