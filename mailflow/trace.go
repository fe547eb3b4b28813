// SPDX-License-Identifier: Apache-2.0

package mailflow

import "strings"

// MaxTraceBytes bounds the winner's path that is stored with a message.
const MaxTraceBytes = 512

// Trace records why a transaction ended as it did: one note for each thing a
// handler found or did, in order. The whole trace is what `explain` shows; the
// ledger keeps [Trace.Summary].
//
// A Trace belongs to one transaction and is not safe for concurrent use.
type Trace struct {
	notes []Note
	at    string // the handler that writes now
	depth int
}

// Note is one line of a [Trace].
type Note struct {
	// Handler is the handler's name in the route, empty for the engine's own.
	Handler string `json:"handler,omitempty"`
	// Depth is how deep the handler is nested: `handle` blocks add one.
	Depth int `json:"depth,omitempty"`
	// Code is a constant that programs can test, such as "server_chosen" or
	// "fix:idn".
	Code string `json:"code"`
	// Text says it to a human.
	Text string `json:"text,omitempty"`
	// Won is set when the note is part of what decided; the others say what
	// was looked at and not taken.
	Won bool `json:"won,omitempty"`
}

// Note records that something was looked at and did not decide.
func (t *Trace) Note(code, text string) {
	t.notes = append(t.notes, Note{Handler: t.at, Depth: t.depth, Code: code, Text: text})
}

// Won records what decided.
func (t *Trace) Won(code, text string) {
	t.notes = append(t.notes, Note{Handler: t.at, Depth: t.depth, Code: code, Text: text, Won: true})
}

// Notes returns all notes in order. The caller must not change them.
func (t *Trace) Notes() []Note { return t.notes }

// Summary returns the winner's path in at most [MaxTraceBytes]: a version,
// then handler:code pairs, such as "1 choose_server:server_chosen".
func (t *Trace) Summary() string {
	var b strings.Builder
	b.WriteString("1")
	for _, n := range t.notes {
		if !n.Won {
			continue
		}
		part := " " + n.Code
		if n.Handler != "" {
			part = " " + n.Handler + ":" + n.Code
		}
		if b.Len()+len(part) > MaxTraceBytes {
			break
		}
		b.WriteString(part)
	}
	return b.String()
}
