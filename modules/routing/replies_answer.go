// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/auto"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds on what one mail makes us look up; conversations quote less.
const (
	// maxPosts is how many posts are looked at that a mail quotes.
	maxPosts = 64
	// maxRecords is how many of Odoo's ids are looked up.
	maxRecords = 8
)

// answer is one mail while it is found out what it answers.
type answer struct {
	tx       *mailflow.Transaction
	behavior mailflow.Behavior
	quoted   reply.Quoted
	posts    []mailflow.Post
	records  map[string]string
	writer   alias.Writer
	kind     auto.Kind
	why      string

	// What the store was asked already; failed is its first error.
	threads map[string]*mailflow.Thread
	follow  map[string][]mailflow.Follower
	failed  error

	// The store's answers for package reply, which has no context.
	known func(thread string) *mailflow.Thread
	fits  func(thread string) bool
}

// study reads what the mail quotes, and what the store knows of it; nil if
// nothing names a thread.
func (h *Replies) study(ctx context.Context, tx *mailflow.Transaction) (*answer, error) {
	a := &answer{
		tx: tx, behavior: h.behavior, quoted: reply.Quotes(tx.Message.Header, h.behavior),
		threads: make(map[string]*mailflow.Thread), follow: make(map[string][]mailflow.Follower),
	}
	a.fits = func(thread string) bool { return a.fitting(ctx, thread) }
	a.known = func(thread string) *mailflow.Thread { return a.load(ctx, thread) }
	h.noteHeader(tx)
	a.kind, a.why = h.answering(tx)
	var err error
	if names := a.quoted.Lookup(); len(names) > 0 {
		if a.posts, err = tx.View.Posts(ctx, names, maxPosts); err != nil {
			return nil, fmt.Errorf("looking for the messages that it quotes: %w", err)
		}
	}
	names := a.quoted.Names(tx.Tokens, h.behavior)
	byAddress := func(r mailflow.Recipient) bool { return reply.ByAddress(r.Address, tx.Tokens) != "" }
	if len(a.posts) == 0 && len(names) == 0 && !a.quoted.Loops() && !slices.ContainsFunc(tx.Pending(), byAddress) {
		return nil, nil //nolint:nilnil // nothing is no error here
	}
	if err := a.lookUpRecords(ctx, names); err != nil {
		return nil, err
	}
	if a.writer, err = h.writer(ctx, tx); err != nil {
		return nil, err
	}
	if a.kind != auto.Human {
		tx.Tag(tagAutomatic, string(a.kind))
	}
	return a, nil
}

// lookUpRecords looks for the threads of the records that Odoo's ids name.
func (a *answer) lookUpRecords(ctx context.Context, names []reply.Named) error {
	a.records = make(map[string]string)
	for _, n := range names {
		if n.Model == "" || len(a.records) == maxRecords {
			continue
		}
		t, err := a.tx.View.ThreadOf(ctx, n.Model, n.Foreign)
		if errors.Is(err, mailflow.ErrNoRecord) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for the thread of %s %s: %w", n.Model, n.Foreign, err)
		}
		a.records[n.Quoted] = t.ID
		a.threads[t.ID] = t
	}
	return nil
}

// load returns the thread, or nil.
func (a *answer) load(ctx context.Context, id string) *mailflow.Thread {
	t, asked := a.threads[id]
	if !asked {
		var err error
		if t, err = threadOf(ctx, a.tx, id); err != nil {
			a.failed = errors.Join(a.failed, err)
			return nil
		}
		a.threads[id] = t
	}
	return t
}

// followersOf returns the followers of the thread.
func (a *answer) followersOf(ctx context.Context, thread string) ([]mailflow.Follower, error) {
	fs, asked := a.follow[thread]
	if !asked {
		var err error
		if fs, err = followers(ctx, a.tx, thread); err != nil {
			return nil, err
		}
		a.follow[thread] = fs
	}
	return fs, nil
}

// fitting reports whether the author has to do with the thread: he follows it,
// opened it, or wrote a message in it that the mail quotes.
func (a *answer) fitting(ctx context.Context, thread string) bool {
	fs, err := a.followersOf(ctx, thread)
	if err != nil {
		a.failed = errors.Join(a.failed, err)
		return false
	}
	if a.writer.Follows(fs) {
		return true
	}
	if a.writer.Address.IsNull() {
		return false
	}
	if t := a.load(ctx, thread); t != nil && a.isFrom(t.From) {
		return true
	}
	for i := range a.posts {
		if a.posts[i].Thread == thread && a.isFrom(a.posts[i].From) {
			return true
		}
	}
	return false
}

// isFrom reports whether a From field is the author's.
func (a *answer) isFrom(from string) bool {
	return from != "" && mailflow.ParseHeader([]byte("From: "+from+"\r\n\r\n")).From().Is(a.writer.Address)
}

// decide returns what the mail answers, and the thread: of that model, or of
// any if there is none. token is the thread that the address names.
func (a *answer) decide(token, model string) (reply.Answer, *mailflow.Thread, error) {
	found := reply.Decide(a.quoted, reply.Found{
		Address: token, Posts: a.posts, Records: a.records, Fits: a.fits,
		Candidate: func(thread string) bool {
			t := a.known(thread)
			return t != nil && (model == "" || t.Model == model)
		},
	}, a.tx.Tokens, a.behavior)
	if a.failed != nil {
		return reply.Answer{}, nil, a.failed
	}
	if found.Thread == "" {
		return found, nil, nil
	}
	return found, a.known(found.Thread), nil
}

// explain writes into the trace what was looked at.
func (a *answer) explain(rcpt mailflow.Address, found reply.Answer) {
	at := ""
	if !rcpt.IsNull() {
		at = rcpt.String() + ": "
	}
	for _, e := range found.Passed {
		a.tx.Trace.Note(codePassed, at+string(e.Proof)+" "+e.Quoted+" names "+e.Thread)
	}
}

// post claims rcpt for the thread t, or for a new one where t is gone.
func (a *answer) post(rcpt mailflow.Address, t *mailflow.Thread, found reply.Answer, fs []mailflow.Follower, via *mailflow.Alias) error {
	action := mailflow.PostTo{Author: by(&a.writer, fs), Kind: mailflow.PostComment, Weak: found.Weak}
	var facts []mailflow.Fact
	if via != nil {
		facts = aliasFacts(via)
	}
	if a.kind == auto.Human && found.Weak == "" {
		action.Follow = action.Author
	}
	if t.State == mailflow.ThreadGone {
		a.tx.Trace.Note(codeReplyGone, "it answers "+t.ID+", which is gone")
		action.Open = alias.OpenModel(t.Model, a.tx.Message.Header)
		action.Open.Domain = t.Domain
	} else {
		action.Thread = t.ID
		facts = append(facts, threadFact(t.ID))
	}
	if p := found.Parent; p != nil && action.Open == nil {
		action.Parent = p.ID
		if p.Kind == mailflow.PostNote {
			action.Kind = mailflow.PostNote
		}
	}
	if a.kind != auto.Human {
		a.tx.Trace.Note(codeAutomatic, a.why)
		action.Kind = mailflow.PostNote
	}
	if found.Proof == reply.ProofSigned && a.behavior == mailflow.BehaviorOdoo {
		a.tx.Trace.Note(reply.FixMinted, "the signed id that it quotes names the thread")
	}
	if found.Weak != "" {
		a.tx.Trace.Note(codeWeak, found.Weak)
	}
	a.tx.Trace.Won(codeReply, "it answers "+t.ID+": "+string(found.Proof))
	return a.tx.Claim(rcpt, action, facts...)
}
