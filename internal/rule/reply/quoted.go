// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Marks in the Message-Ids that Odoo makes.
const (
	// odooNewThread: an answer to it shall open a thread of its own.
	odooNewThread = "-openerp-reply_to@"
	// odooLoop stands in what Odoo refuses with.
	odooLoop = "-loop-detection-bounce-email@"
)

// odooID finds the record that one of Odoo's Message-Ids names: its number and
// its model.
var odooID = regexp.MustCompile(`-openerp-([0-9]{1,19})-([a-z][a-z0-9_.]{0,127})@`)

// Quoted is what a mail says of the mail that it answers.
type Quoted struct {
	// References and InReplyTo are the ids in these fields, the oldest first.
	References, InReplyTo []string
	// Index is the name of the conversation by Thread-Index; empty if none.
	Index string

	// referring is set when there is a References field with any text.
	referring bool
}

// Quotes returns what the mail with that header quotes. For Odoo an id stands
// in angle brackets.
func Quotes(h mailflow.Header, b mailflow.Behavior) Quoted {
	q := Quoted{References: References(h), InReplyTo: InReplyTo(h), Index: ThreadIndex(h)}
	references := value(h, "References")
	q.referring = references != ""
	if b != mailflow.BehaviorOdoo {
		return q
	}
	if !strings.Contains(references, "<") {
		q.References = nil
	}
	if !strings.Contains(value(h, "In-Reply-To"), "<") {
		q.InReplyTo = nil
	}
	return q
}

// Loops reports whether the mail answers a refusal, of ours or of an Odoo.
func (q Quoted) Loops() bool {
	loop := func(id string) bool { return strings.Contains(id, odooLoop) }
	return slices.ContainsFunc(q.References, loop) || slices.ContainsFunc(q.InReplyTo, loop)
}

// ids returns the ids that count, the closest first: what it answers directly,
// then the mails before that. Odoo knows of no direct answer: there all count
// alike.
func (q Quoted) ids(b mailflow.Behavior) []string {
	var all []string
	add := func(ids []string) {
		for _, id := range slices.Backward(ids) {
			if !strings.Contains(id, odooNewThread) && !strings.Contains(id, odooLoop) && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	if b == mailflow.BehaviorOdoo {
		if q.referring {
			add(q.References)
		} else {
			add(q.InReplyTo)
		}
		return all
	}
	add(q.InReplyTo)
	add(q.References)
	return all
}

// Lookup returns the names under which to look for posts, with
// [mailflow.ThreadView.Posts]; what it finds is handed to [Decide].
func (q Quoted) Lookup() []string {
	all := slices.Concat(q.InReplyTo, q.References)
	if q.Index != "" {
		all = append(all, q.Index)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Named is something of ours, or of an Odoo, that a quoted id names by itself.
type Named struct {
	// Quoted is the id.
	Quoted string
	// Thread is the ID of a thread, and Message that of a message of which the
	// thread is not known; both are signed.
	Thread, Message string
	// Model and Foreign are the record that an id of Odoo's names.
	Model, Foreign string
}

// Names returns what the quoted ids name by themselves, the closest first.
func (q Quoted) Names(tokens mailflow.Tokens, b mailflow.Behavior) []Named {
	var all []Named
	for _, id := range q.ids(b) {
		if n, ok := named(id, tokens); ok {
			all = append(all, n)
		}
	}
	return all
}

func named(id string, tokens mailflow.Tokens) (Named, bool) {
	if thread, message := Minted(id, tokens); thread != "" || message != "" {
		return Named{Quoted: id, Thread: thread, Message: message}, true
	}
	if m := odooID.FindStringSubmatch(id); m != nil {
		return Named{Quoted: id, Foreign: m[1], Model: m[2]}, true
	}
	return Named{}, false
}

// Minted returns the ID of the thread, or of the message, that a Message-Id
// which was minted here names; "" for those of others. That of a post is
// "<TOKEN.unique@host>", that of a message "<TOKEN@host>".
func Minted(id string, tokens mailflow.Tokens) (thread, message string) {
	local, _, ok := strings.Cut(strings.TrimPrefix(id, "<"), "@")
	if !ok || tokens == nil {
		return "", ""
	}
	if i := strings.LastIndexByte(local, '.'); i > 0 {
		if thread, ok = tokens.Verify(mailflow.TokenThread, local[:i]); ok {
			return thread, ""
		}
	}
	if message, ok = tokens.Verify(mailflow.TokenMessage, local); ok {
		return "", message
	}
	return "", ""
}

// ByAddress returns the ID of the thread that the address names by the token
// behind its "+"; "" if it names none.
func ByAddress(a mailflow.Address, tokens mailflow.Tokens) string {
	_, token, ok := strings.Cut(a.Local, "+")
	if !ok || tokens == nil {
		return ""
	}
	thread, _ := tokens.Verify(mailflow.TokenThread, token)
	return thread
}
