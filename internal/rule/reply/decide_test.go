// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/rule/token"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

var keys, _ = token.Keys(nil).Rotate(time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC))

// posts are what the store has, the newest first.
var posts = []mailflow.Post{
	{ID: "p5", Thread: "t3", MessageID: "<shared@x>"},
	{ID: "p4", Thread: "t2", MessageID: "<shared@x>"},
	{ID: "p3", Thread: "t2", MessageID: "<b@x>", Refs: []string{"<relayed@ses>"}},
	{ID: "p2", Thread: "t1", MessageID: "<a2@x>", Refs: []string{"thread-index:AdXEDPWnRtGkg8iEQTGqRkyx3nWcyg=="}},
	{ID: "p1", Thread: "t1", MessageID: "<a@x>"},
}

const index = "Thread-Index: AdXEDPWnRtGkg8iEQTGqRkyx3nWcygAAGAMQ"

// lookup answers as the store does.
func lookup(refs []string) []mailflow.Post {
	var found []mailflow.Post
	for _, p := range posts {
		if slices.ContainsFunc(refs, func(r string) bool { return names(&p, r) }) {
			found = append(found, p)
		}
	}
	return found
}

func TestDecide(t *testing.T) {
	t.Parallel()
	signed := "<" + keys.Sign(mailflow.TokenThread, "t1") + ".c8r2@mx.example>"
	gone := "<" + keys.Sign(mailflow.TokenThread, "t9") + ".c8r2@mx.example>"
	forged := "<t1" + strings.Repeat("0", 16) + ".c8r2@mx.example>"
	const odooT1 = "<1.2-openerp-7-crm.lead@srv>"
	for _, c := range []struct {
		name, header string
		address      string // thread of the token
		fits         string // thread that the sender has to do with
		want         string // thread proof parent
		weak         string
		odoo         string // where it differs: thread proof parent
	}{
		{name: "nothing", header: "Subject: Re: t1", want: "- - -"},
		{name: "unknown id", header: "References: <z@x>", want: "- - -"},
		{name: "references", header: "References: <a@x>", want: "t1 stored_message p1"},
		{name: "in-reply-to", header: "In-Reply-To: <a@x>", want: "t1 stored_message p1"},
		{name: "in-reply-to beside unknown references", header: "References: <z@x>\nIn-Reply-To: <a@x>", want: "t1 stored_message p1", odoo: "- - -"},
		{name: "the closest parent", header: "References: <a@x> <a2@x>", want: "t1 stored_message p2"},
		{name: "the direct parent is older", header: "References: <a2@x> <a@x>\nIn-Reply-To: <a@x>", want: "t1 stored_message p1"},
		{name: "the last reference is older", header: "References: <a2@x> <a@x>", want: "t1 stored_message p1", odoo: "t1 stored_message p2"},
		{name: "case counts", header: "References: <A@x>", want: "- - -"},
		{name: "a bare id", header: "References: a@x", want: "t1 stored_message p1", odoo: "- - -"},
		{name: "two threads, a stranger", header: "References: <a@x> <b@x>", want: "- - -", odoo: "t2 stored_message p3"},
		{name: "two threads, of the first one", header: "References: <a@x> <b@x>", fits: "t1", want: "t1 stored_message p1", weak: weakConflict, odoo: "t2 stored_message p3"},
		{name: "two threads, of the last one", header: "References: <a@x> <b@x>", fits: "t2", want: "t2 stored_message p3", weak: weakConflict, odoo: "t2 stored_message p3"},
		{name: "parent in another thread", header: "References: <b@x>\nIn-Reply-To: <a@x>", fits: "t1", want: "t1 stored_message p1", weak: weakConflict, odoo: "t2 stored_message p1"},
		{name: "one mail in two threads", header: "References: <shared@x>", want: "- - -", odoo: "t3 stored_message p5"},
		{name: "one mail in two threads, of one", header: "References: <shared@x>", fits: "t2", want: "t2 stored_message p4", weak: weakConflict, odoo: "t3 stored_message p5"},
		{name: "a relay's id", header: "In-Reply-To: <relayed@ses>", want: "t2 stored_message p3"},
		{name: "signed, purged", header: "References: " + signed, want: "t1 signed_message_id -"},
		{name: "signed, in upper case", header: "References: " + strings.ToUpper(signed), want: "t1 signed_message_id -"},
		{name: "signed, of a thread that is gone", header: "References: " + gone, want: "- - -"},
		{name: "forged", header: "References: " + forged, want: "- - -"},
		{name: "signed and stored agree", header: "References: " + signed + " <a@x>", want: "t1 stored_message p1"},
		{name: "signed and stored differ", header: "References: <b@x> " + signed, fits: "t1", want: "t1 signed_message_id -", weak: weakConflict, odoo: "t2 stored_message p3"},
		{name: "a new thread is wanted", header: "References: <1.2-openerp-reply_to@srv>", want: "- - -"},
		{name: "Odoo's id, a stranger", header: "References: " + odooT1, want: "- - -"},
		{name: "Odoo's id, of the thread", header: "References: " + odooT1, fits: "t1", want: "t1 odoo_message_id -", weak: weakForeign},
		{name: "Odoo's id beside a stored one", header: "References: " + odooT1 + " <b@x>", want: "t2 stored_message p3"},
		{name: "Thread-Index, a stranger", header: index, want: "- - -"},
		{name: "Thread-Index, of the thread", header: index, fits: "t1", want: "t1 thread_index p2", weak: weakIndex, odoo: "- - -"},
		{name: "Thread-Index beside a stored id", header: index + "\nReferences: <b@x>", want: "t2 stored_message p3"},
		{name: "address", header: "Subject: x", address: "t1", want: "t1 token_in_address -"},
		{name: "address and id agree", header: "References: <a@x>", address: "t1", want: "t1 token_in_address p1"},
		{name: "address and id differ", header: "References: <b@x>", address: "t1", want: "t1 token_in_address -", weak: weakAddress, odoo: "t1 token_in_address p3"},
	} {
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			h := header(c.header)
			q := Quotes(h, b)
			f := Found{
				Address: c.address, Posts: lookup(q.Lookup()), Records: map[string]string{odooT1: "t1"},
				Candidate: func(thread string) bool { return thread != "t9" },
				Fits:      func(thread string) bool { return thread == c.fits },
			}
			a := Decide(q, f, keys, b)
			got, want := say(a), c.want
			if b == mailflow.BehaviorOdoo && c.odoo != "" {
				want = c.odoo
			}
			if got != want {
				t.Errorf("%s: %s: %s, want %s (passed %v)", b, c.name, got, want, a.Passed)
			}
			if b == mailflow.BehaviorDocumented && a.Weak != c.weak {
				t.Errorf("%s: weak %q, want %q", c.name, a.Weak, c.weak)
			}
		}
	}
}

// say returns thread, proof and parent.
func say(a Answer) string {
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	p := ""
	if a.Parent != nil {
		p = a.Parent.ID
	}
	return fmt.Sprintf("%s %s %s", or(a.Thread), or(string(a.Proof)), or(p))
}

// TestCandidate leaves out threads that the address cannot mean.
func TestCandidate(t *testing.T) {
	t.Parallel()
	q := Quotes(header("References: <shared@x>"), "")
	a := Decide(q, Found{Posts: lookup(q.Lookup()), Candidate: func(t string) bool { return t == "t2" }}, nil, "")
	if say(a) != "t2 stored_message p4" || a.Weak != "" {
		t.Errorf("%s, weak %q", say(a), a.Weak)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	thread, message := keys.Sign(mailflow.TokenThread, "t1"), keys.Sign(mailflow.TokenMessage, "m1")
	for id, want := range map[string]string{
		"<" + thread + ".x@h>":     "t1/",
		"<" + thread + ".x.y@h>":   "/", // what is unique has no dot
		"<" + thread + "@h>":       "/",
		"<" + message + "@h>":      "/m1",
		"<" + message + ".x@h>":    "/",
		"<" + message + "@a@b>":    "/m1",
		"<" + thread + ".x>":       "/",
		"<x" + thread + ".x@h>":    "/",
		"<.@h>":                    "/",
		"":                         "/",
		"<" + thread[1:] + ".x@h>": "/",
	} {
		if th, m := Minted(id, keys); th+"/"+m != want {
			t.Errorf("%s names %s/%s, want %s", id, th, m, want)
		}
	}
	if th, m := Minted("<"+thread+".x@h>", nil); th+m != "" {
		t.Error("verified without keys")
	}
	for a, want := range map[string]string{
		"catchall+" + thread + "@h.example":  "t1",
		"catchall+" + message + "@h.example": "",
		"catchall@h.example":                 "",
		"catchall+x@h.example":               "",
	} {
		if got := ByAddress(mailflow.MustParseAddress(a), keys); got != want {
			t.Errorf("%s names %q, want %q", a, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	q := Quotes(header("References: <1.2-openerp-7-crm.lead@srv> <a@x> <"+keys.Sign(mailflow.TokenMessage, "m1")+"@h>"), "")
	got := q.Names(keys, "")
	if len(got) != 2 || got[0].Message != "m1" || got[1].Model != "crm.lead" || got[1].Foreign != "7" {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]bool{
		"References: <a@x> <1.2-openerp-loop-detection-bounce-email@srv>": true,
		"In-Reply-To: <1.2-openerp-loop-detection-\n bounce-email@srv>":   true,
		"References: <1.2-openerp-7-crm.lead@srv>":                        false,
		"Message-Id: <1.2-openerp-loop-detection-bounce-email@srv>":       false,
	} {
		if got := Quotes(header(text), "").Loops(); got != want {
			t.Errorf("%q loops: %v", text, got)
		}
	}
}

// FuzzDecide looks for a thread that nothing names, with ids by a stranger.
func FuzzDecide(f *testing.F) {
	f.Add("<a@x> <b@x>", "<shared@x>", "catchall+x")
	f.Add("<1-openerp-7-crm.lead@srv>", "a@x", "+")
	f.Fuzz(func(t *testing.T, references, parent, local string) {
		h := mailflow.ParseHeader([]byte("References: " + references + "\r\nIn-Reply-To: " + parent + "\r\n\r\n"))
		if th := ByAddress(mailflow.Address{Local: local, Domain: "h.example"}, keys); th != "" {
			t.Fatalf("%q names %q", local, th)
		}
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			q := Quotes(h, b)
			a := Decide(q, Found{Posts: lookup(q.Lookup())}, keys, b)
			if a.Thread == "" && a.Weak != "" || a.Thread != "" && a.Proof == "" || a.Proof == ProofSigned || a.Proof == ProofAddress {
				t.Fatalf("%+v", a)
			}
		}
	})
}
