// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"slices"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Proof says how it is known which thread a mail answers.
type Proof string

// The proofs.
const (
	ProofAddress Proof = "token_in_address"
	ProofStored  Proof = "stored_message"
	ProofSigned  Proof = "signed_message_id"
	ProofForeign Proof = "odoo_message_id"
	ProofIndex   Proof = "thread_index"
)

// FixMinted is the code of the deliberate difference that an answer is matched
// by the signed id that it quotes, when its stored message was purged.
const FixMinted = "fix:minted_id"

// strong reports whether the proof alone puts a mail into a thread.
func (p Proof) strong() bool { return p == ProofAddress || p == ProofStored || p == ProofSigned }

// Evidence is one thing that names a thread.
type Evidence struct {
	Thread string
	Proof  Proof
	// Quoted is the id that names it; empty for an address.
	Quoted string
}

// Found is what is known of what a mail quotes.
type Found struct {
	// Address is the thread that the recipient's address names; "" if none.
	Address string
	// Posts are what the store has for [Quoted.Lookup], the newest first.
	Posts []mailflow.Post
	// Records are the threads of those [Quoted.Names] that have a model, by
	// the quoted id.
	Records map[string]string
	// Candidate reports whether a thread may be meant at all: it is known and,
	// for an alias, of its model. nil takes all.
	Candidate func(thread string) bool
	// Fits reports whether the sender has to do with the thread: follows it,
	// opened it, or has written to it.
	Fits func(thread string) bool
}

// Answer is the thread that a mail belongs to.
type Answer struct {
	// Thread is the ID of the thread; "" if the mail answers none.
	Thread string
	// Proof says how that is known.
	Proof Proof
	// Parent is the post that is answered; nil if it is not known.
	Parent *mailflow.Post
	// Weak says why the place is not proven; "" if it is.
	Weak string
	// Passed are the threads that were named too, or that were not believed.
	Passed []Evidence
}

// Why evidence is weak.
const (
	weakForeign  = "only an unsigned id of Odoo names the thread"
	weakIndex    = "only Thread-Index names the thread"
	weakConflict = "the messages that it quotes are in several threads"
	weakAddress  = "the address names another thread than the messages that it quotes"
)

// Decide returns the thread that a mail answers, of those that the evidence
// names.
func Decide(q Quoted, f Found, tokens mailflow.Tokens, b mailflow.Behavior) Answer {
	found := f.evidence(q, tokens, b)
	a := f.choose(found, b)
	if a.Thread == "" {
		a.Passed = found
		return a
	}
	for _, e := range found {
		if e.Thread != a.Thread {
			a.Passed = append(a.Passed, e)
		}
	}
	a.Parent = parent(q, f.Posts, a.Thread, b)
	return a
}

// evidence returns all that names a thread, the closest first.
func (f *Found) evidence(q Quoted, tokens mailflow.Tokens, b mailflow.Behavior) []Evidence {
	ids := q.ids(b)
	found := []Evidence{{Thread: f.Address, Proof: ProofAddress}}
	if b == mailflow.BehaviorOdoo {
		found = append(found, f.newest(ids)...)
	}
	for _, id := range ids {
		if b != mailflow.BehaviorOdoo {
			found = append(found, f.stored(id, ProofStored)...)
		}
		thread, _ := Minted(id, tokens)
		found = append(found, Evidence{Thread: thread, Proof: ProofSigned, Quoted: id})
	}
	for _, n := range q.Names(tokens, b) {
		found = append(found, Evidence{Thread: f.Records[n.Quoted], Proof: ProofForeign, Quoted: n.Quoted})
	}
	if b != mailflow.BehaviorOdoo && q.Index != "" {
		found = append(found, f.stored(q.Index, ProofIndex)...)
	}
	return slices.DeleteFunc(found, func(e Evidence) bool {
		return e.Thread == "" || f.Candidate != nil && !f.Candidate(e.Thread)
	})
}

// stored returns the threads of the posts that have the name.
func (f *Found) stored(name string, p Proof) (found []Evidence) {
	for i := range f.Posts {
		if names(&f.Posts[i], name) {
			found = append(found, Evidence{Thread: f.Posts[i].Thread, Proof: p, Quoted: name})
		}
	}
	return found
}

// newest returns the threads of the posts that have one of the ids, the newest
// post first.
func (f *Found) newest(ids []string) (found []Evidence) {
	for i := range f.Posts {
		has := func(id string) bool { return names(&f.Posts[i], id) }
		if at := slices.IndexFunc(ids, has); at >= 0 {
			found = append(found, Evidence{Thread: f.Posts[i].Thread, Proof: ProofStored, Quoted: ids[at]})
		}
	}
	return found
}

// names reports whether the post is known under that id.
func names(p *mailflow.Post, id string) bool { return p.MessageID == id || slices.Contains(p.Refs, id) }

// choose returns the thread, without the rest of the answer.
func (f *Found) choose(found []Evidence, b mailflow.Behavior) Answer {
	if len(found) == 0 {
		return Answer{}
	}
	var strong []Evidence
	for _, e := range found {
		if e.Proof.strong() && !slices.ContainsFunc(strong, func(s Evidence) bool { return s.Thread == e.Thread }) {
			strong = append(strong, e)
		}
	}
	switch {
	case len(strong) > 0 && strong[0].Proof == ProofAddress:
		a := Answer{Thread: strong[0].Thread, Proof: ProofAddress}
		if others := strong[1:]; len(others) > 0 && !f.quotes(found, a.Thread) {
			a.Weak = weakAddress
		}
		return a
	case len(strong) == 1, len(strong) > 1 && b == mailflow.BehaviorOdoo:
		return Answer{Thread: strong[0].Thread, Proof: strong[0].Proof}
	case len(strong) > 1:
		return f.believed(strong, weakConflict)
	case found[0].Proof == ProofForeign:
		return f.believed(found, weakForeign)
	}
	return f.believed(found, weakIndex)
}

// quotes reports whether the mail quotes a message of the thread.
func (*Found) quotes(found []Evidence, thread string) bool {
	return slices.ContainsFunc(found, func(e Evidence) bool {
		return e.Thread == thread && (e.Proof == ProofStored || e.Proof == ProofSigned)
	})
}

// believed returns the closest thread that the sender has to do with.
func (f *Found) believed(found []Evidence, weak string) Answer {
	for _, e := range found {
		if f.Fits != nil && f.Fits(e.Thread) {
			return Answer{Thread: e.Thread, Proof: e.Proof, Weak: weak}
		}
	}
	return Answer{}
}

// parent returns the post that the mail answers: in the thread, the one that
// it quotes closest. Odoo takes the newest of In-Reply-To, else of References,
// in whatever thread it is.
func parent(q Quoted, posts []mailflow.Post, thread string, b mailflow.Behavior) *mailflow.Post {
	first := func(ids []string, thread string) *mailflow.Post {
		for i := range posts {
			p := &posts[i]
			named := slices.ContainsFunc(ids, func(id string) bool { return names(p, id) })
			if named && (thread == "" || p.Thread == thread) {
				return p
			}
		}
		return nil
	}
	if b == mailflow.BehaviorOdoo {
		if p := first(q.InReplyTo, ""); p != nil {
			return p
		}
		return first(q.References, "")
	}
	for _, id := range q.ids(b) {
		if p := first([]string{id}, thread); p != nil {
			return p
		}
	}
	if q.Index == "" {
		return nil
	}
	return first([]string{q.Index}, thread)
}
