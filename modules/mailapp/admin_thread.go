// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// threadDetails is what is shown of one thread.
type threadDetails struct {
	mailflow.Thread

	Followers []followerEntry `json:"followers"`
	// Posts are what is in it, the oldest first.
	Posts []postEntry `json:"posts"`
}

// followerEntry is a follower as it is shown.
type followerEntry struct {
	Contact   string   `json:"contact"`
	Name      string   `json:"name,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	// Notes is set if internal notes are told too.
	Notes bool `json:"notes"`
}

// postEntry is a post as it is shown. What stands in its mail is shown to
// those only who are known.
type postEntry struct {
	mailflow.Post

	Text        string                `json:"text,omitempty"`
	HTML        string                `json:"html,omitempty"`
	Attachments []mailflow.Attachment `json:"attachments,omitempty"`
	Flaws       []string              `json:"flaws,omitempty"`
	// Withheld is set where text and attachments are not shown.
	Withheld bool `json:"withheld,omitempty"`
}

// listThreads answers GET /mail/threads.
func (a *Admin) listThreads(w http.ResponseWriter, r *http.Request) error {
	limit, err := listLimit(r)
	if err != nil {
		return err
	}
	args := r.URL.Query()
	_, store, err := a.store()
	if err != nil {
		return err
	}
	threads, err := store.Threads(r.Context(), mailflow.ThreadQuery{
		Model: args.Get("model"), State: args.Get("state"), Text: args.Get("text"), Before: args.Get("before"), Limit: limit,
	})
	if err != nil {
		return refusal(fmt.Errorf("listing the threads: %w", err))
	}
	return reply(w, http.StatusOK, append([]mailflow.Thread{}, threads...))
}

// thread returns the thread of that ID. Error: [mailflow.ErrNoRecord].
func thread(ctx context.Context, s mailflow.Store, id string) (*mailflow.Thread, error) {
	t, err := s.Thread(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("thread %s: %w", id, err)
	}
	return t, nil
}

// showThread answers GET /mail/threads/ID.
func (a *Admin) showThread(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	t, err := thread(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	return replyThread(w, r, store, t)
}

// replyThread answers with a thread and all that is in it.
func replyThread(w http.ResponseWriter, r *http.Request, store mailflow.Store, t *mailflow.Thread) error {
	details := threadDetails{Thread: *t, Posts: []postEntry{}}
	followers, err := store.Followers(r.Context(), t.ID)
	if err != nil {
		return refusal(fmt.Errorf("looking for the followers of thread %s: %w", t.ID, err))
	}
	if details.Followers, err = followerEntries(r.Context(), store, followers); err != nil {
		return refusal(err)
	}
	posts, err := store.PostsOf(r.Context(), t.ID)
	if err != nil {
		return refusal(fmt.Errorf("reading thread %s: %w", t.ID, err))
	}
	for i := range posts {
		details.Posts = append(details.Posts, postEntryOf(&posts[i], private(r)))
	}
	return reply(w, http.StatusOK, details)
}

// followerEntries returns followers as they are shown.
func followerEntries(ctx context.Context, s mailflow.Store, followers []mailflow.Follower) ([]followerEntry, error) {
	entries := make([]followerEntry, len(followers))
	if len(followers) == 0 {
		return entries, nil
	}
	contacts, err := s.ContactList(ctx, math.MaxInt32)
	if err != nil {
		return nil, fmt.Errorf("listing the contacts: %w", err)
	}
	for i, f := range followers {
		entries[i] = followerEntry{Contact: f.Contact, Notes: f.Notes}
		known := slices.IndexFunc(contacts, func(c mailflow.Contact) bool { return c.ID == f.Contact })
		if known < 0 {
			continue // removed since the list was read
		}
		entries[i].Name = contacts[known].Name
		for _, addr := range contacts[known].Addresses {
			entries[i].Addresses = append(entries[i].Addresses, addr.String())
		}
	}
	return entries, nil
}

// postEntryOf returns a post as it is shown, in full or without what stands in
// its mail.
func postEntryOf(p *mailflow.DigestedPost, full bool) postEntry {
	e := postEntry{Post: p.Post}
	switch {
	case !full:
		e.Withheld = true
	case p.Digest != nil:
		e.Text, e.HTML, e.Attachments, e.Flaws = p.Digest.Text, p.Digest.HTML, p.Digest.Attachments, p.Digest.Flaws
	}
	return e
}

// postMessage answers GET /mail/threads/ID/posts/POST/message.
func (a *Admin) postMessage(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	posts, err := store.PostsOf(r.Context(), r.PathValue("id"))
	if err != nil {
		return refusal(fmt.Errorf("reading thread %s: %w", r.PathValue("id"), err))
	}
	i := slices.IndexFunc(posts, func(p mailflow.DigestedPost) bool { return p.ID == r.PathValue("post") })
	if i < 0 {
		return refusal(fmt.Errorf("post %s: %w", r.PathValue("post"), mailflow.ErrNoRecord))
	}
	if posts[i].Message == "" {
		return apiError(http.StatusNotFound, "post %s has no mail", posts[i].ID)
	}
	return sendMessage(w, r, store, posts[i].Message)
}

// putThread answers PUT /mail/threads/ID with the thread as it then is; a new
// one is opened.
func (a *Admin) putThread(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	old, err := thread(r.Context(), store, r.PathValue("id"))
	if err = orNew(&old, err); err != nil {
		return refusal(err)
	}
	return setThread(w, r, store, mailflow.Thread{ID: r.PathValue("id"), Created: old.Created, Updated: old.Updated})
}

// patchThread answers PATCH /mail/threads/ID: what the request does not name
// stays as it is.
func (a *Admin) patchThread(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	t, err := thread(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	return setThread(w, r, store, *t)
}

// threadRecord is what can be set of a thread. What is shown of one can be
// sent back: the rest is read and left.
type threadRecord struct {
	mailflow.Thread

	Followers json.RawMessage `json:"followers"`
	Posts     json.RawMessage `json:"posts"`
}

// setThread writes the thread that the request makes of t. Its ID and its
// times are not for the request to say.
func setThread(w http.ResponseWriter, r *http.Request, store mailflow.Store, t mailflow.Thread) error {
	record := threadRecord{Thread: t}
	record.Fields = nil // new fields take the place of the old ones
	if err := readRecord(w, r, &record); err != nil {
		return err
	}
	old := t
	if t = record.Thread; t.Fields == nil {
		t.Fields = old.Fields
	}
	if t.ID != old.ID {
		return apiError(http.StatusBadRequest, "the path is that of %s, the body names %s", old.ID, t.ID)
	}
	t.State = cmp.Or(t.State, mailflow.ThreadOpen)
	if err := checkThread(&t); err != nil {
		return apiError(http.StatusBadRequest, "thread %s: %w", t.ID, err)
	}
	if t.Created, t.Updated = old.Created, time.Now(); t.Created.IsZero() {
		t.Created = t.Updated
	}
	if t.Responsible != "" {
		if _, err := contact(r.Context(), store, t.Responsible); err != nil {
			return refusal(fmt.Errorf("responsible: %w", err))
		}
	}
	err := store.PutThread(r.Context(), &t)
	if errors.Is(err, mailflow.ErrDuplicate) {
		return apiError(http.StatusConflict, "another thread is %s %s already", t.Model, t.Foreign)
	}
	if err != nil {
		return refusal(fmt.Errorf("keeping thread %s: %w", t.ID, err))
	}
	return replyThread(w, r, store, &t)
}

// checkThread refuses a thread that could not be one.
func checkThread(t *mailflow.Thread) error {
	if err := checkID(t.ID); err != nil {
		return err
	}
	if err := checkModel(t.Model); err != nil {
		return err
	}
	for name, text := range map[string]string{"foreign": t.Foreign, "name": t.Name, "from": t.From, "state": t.State} {
		if len(text) > mailflow.MaxStoredText || strings.IndexFunc(text, unicode.IsControl) >= 0 {
			return fmt.Errorf("%s: it takes at most %d bytes in one line", name, mailflow.MaxStoredText)
		}
	}
	if t.Domain != "" {
		name, err := mailflow.NormalizeDomain(t.Domain)
		if err != nil {
			return fmt.Errorf("domain: %w", err)
		}
		t.Domain = name
	}
	return checkFields(t.Fields)
}

// follow answers POST /mail/threads/ID/follow with the thread as it then is.
func (a *Admin) follow(w http.ResponseWriter, r *http.Request) error {
	return a.changeFollower(w, r, []string{"contact", "notes"}, func(ctx context.Context, s mailflow.Store, f mailflow.Follower) error {
		return s.Follow(ctx, f)
	})
}

// unfollow answers POST /mail/threads/ID/unfollow with the thread as it then
// is.
func (a *Admin) unfollow(w http.ResponseWriter, r *http.Request) error {
	return a.changeFollower(w, r, []string{"contact"}, func(ctx context.Context, s mailflow.Store, f mailflow.Follower) error {
		return s.Unfollow(ctx, f.Thread, f.Contact)
	})
}

// changeFollower makes the change that the request names.
func (a *Admin) changeFollower(w http.ResponseWriter, r *http.Request, names []string, change func(context.Context, mailflow.Store, mailflow.Follower) error) error {
	args, err := arguments(w, r, names...)
	if err != nil {
		return err
	}
	if args["contact"] == "" {
		return apiError(http.StatusBadRequest, "it does not say who; name the contact, by ID or address")
	}
	if err := oneOf("notes", args["notes"], "yes", "no"); err != nil {
		return apiError(http.StatusBadRequest, "%w", err)
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	t, err := thread(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	c, err := contact(r.Context(), store, args["contact"])
	if err != nil {
		return refusal(err)
	}
	if err := change(r.Context(), store, mailflow.Follower{Thread: t.ID, Contact: c.ID, Notes: args["notes"] == "yes"}); err != nil {
		return refusal(err)
	}
	return replyThread(w, r, store, t)
}
