// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var searchTests = map[string]func(*storeTest){
	"threads are listed last updated first": testThreadList,
	"threads are listed page by page":       testThreadPages,
	"digests are made once, oldest first":   testUndigested,
	"a digest comes back as it was written": testDigestRoundTrip,
	"words are found together":              testSearch,
	"what a post no longer says is gone":    testSearchAgain,
	"a search has no syntax":                testSearchSyntax,
	"a name is found as it is now":          testSearchName,
}

// threads checks which threads a query finds.
func (t *storeTest) threads(q mailflow.ThreadQuery, want ...string) {
	t.Helper()
	list, err := t.store.Threads(t.Context(), q)
	if err != nil {
		t.Errorf("Threads(%+v): %v", q, err)
		return
	}
	got := []string{}
	for _, th := range list {
		got = append(got, th.ID)
	}
	t.same(fmt.Sprintf("threads of %+v", q), got, want)
}

// put writes a thread that was updated so long after now.
func (t *storeTest) put(name, model, state string, after time.Duration) string {
	t.Helper()
	th := mailflow.Thread{ID: t.id(), Model: model, Name: name, State: state, Created: t.now, Updated: t.now.Add(after)}
	if err := t.store.PutThread(t.Context(), &th); err != nil {
		t.Fatal(err)
	}
	return th.ID
}

func testThreadList(t *storeTest) {
	t.threads(mailflow.ThreadQuery{})
	a := t.put("a", "lead", "open", time.Hour)
	b := t.put("b", "lead", "done", 2*time.Hour)
	c := t.put("c", "task", "open", 0)
	t.threads(mailflow.ThreadQuery{}, b, a, c)
	t.threads(mailflow.ThreadQuery{Model: "lead"}, b, a)
	t.threads(mailflow.ThreadQuery{State: "open"}, a, c)
	t.threads(mailflow.ThreadQuery{Model: "lead", State: "open"}, a)
	t.threads(mailflow.ThreadQuery{Model: "other"})
	p := t.post(c)
	p.At = t.now.Add(3 * time.Hour)
	if err := t.store.PutPost(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	t.threads(mailflow.ThreadQuery{}, c, b, a)
	list, err := t.store.Threads(t.Context(), mailflow.ThreadQuery{Limit: 1})
	if err != nil || len(list) != 1 || !list[0].Updated.Equal(p.At) {
		t.Errorf("the first thread is %+v, %v", list, err)
	}
}

func testThreadPages(t *storeTest) {
	var want []string
	for i := range 7 {
		want = append([]string{t.put("x", "lead", "open", time.Duration(i/3)*time.Minute)}, want...)
	}
	before := ""
	for n := range want {
		t.threads(mailflow.ThreadQuery{Limit: 1, Before: before}, want[n])
		before = want[n]
	}
	t.threads(mailflow.ThreadQuery{Before: before})
	t.threads(mailflow.ThreadQuery{Before: want[2], Limit: 3}, want[3:6]...)
	t.threads(mailflow.ThreadQuery{Before: "unknown"})
}

// undigested checks which posts lack a digest.
func (t *storeTest) undigested(limit int, want ...mailflow.Post) {
	t.Helper()
	got, err := t.store.Undigested(t.Context(), limit)
	if err != nil {
		t.Errorf("Undigested: %v", err)
		return
	}
	t.same("undigested", got, want)
}

// digest writes the digest of a post.
func (t *storeTest) digest(post, text string) {
	t.Helper()
	if err := t.store.PutDigest(t.Context(), post, &mailflow.Digest{Text: text, HTML: "<p>" + text + "</p>"}); err != nil {
		t.Fatalf("PutDigest(%s): %v", post, err)
	}
}

func testUndigested(t *storeTest) {
	_, a := t.open()
	th, b := t.open()
	bare := t.post(th.ID) // has no message to digest
	if err := t.store.PutPost(t.Context(), &bare); err != nil {
		t.Fatal(err)
	}
	t.undigested(0, *a, *b)
	t.undigested(1, *a)
	t.digest(a.ID, "x")
	t.undigested(0, *b)
	t.digest(b.ID, "x")
	t.digest(b.ID, "y")
	t.undigested(0)
	t.wantErr("PutDigest", t.store.PutDigest(t.Context(), "unknown", new(mailflow.Digest)), mailflow.ErrNoRecord)
}

func testDigestRoundTrip(t *storeTest) {
	th, p := t.open()
	other := t.post(th.ID)
	if err := t.store.PutPost(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	full := &mailflow.Digest{
		Text: "Grüße \u2028 'quoted' \x00", HTML: strings.Repeat("<b>é</b>", 50000),
		Attachments: []mailflow.Attachment{{Name: "größe.pdf", Type: "application/pdf", Size: 99, ContentID: "c"}, {Name: "b"}},
		Flaws:       []string{"a", "b"},
	}
	for _, d := range []*mailflow.Digest{full, {}, {Text: "text"}} {
		if err := t.store.PutDigest(t.Context(), p.ID, d); err != nil {
			t.Fatal(err)
		}
		want := t.inOrder(*p, other)
		for i := range want {
			if want[i].ID == p.ID {
				want[i].Digest = d
			}
		}
		t.postsOf(th.ID, want...)
	}
}

func testSearch(t *storeTest) {
	a, pa := t.open()
	b, pb := t.open()
	t.digest(pa.ID, "The quick brown fox, at 10:30")
	t.digest(pb.ID, "a quick reply")
	b.Updated = b.Updated.Add(time.Hour)
	if err := t.store.PutThread(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	t.threads(mailflow.ThreadQuery{Text: "quick"}, b.ID, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "QUICK"}, b.ID, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "fox quick"}, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "fox reply"})
	t.threads(mailflow.ThreadQuery{Text: pb.ID}, b.ID) // of the subject
	t.threads(mailflow.ThreadQuery{Text: "über quick " + pa.ID}, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "10:30"}, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "quick", Limit: 1}, b.ID)
	t.threads(mailflow.ThreadQuery{Text: "quick", Before: b.ID}, a.ID)
	t.threads(mailflow.ThreadQuery{Text: "quick", State: "done"})
	t.threads(mailflow.ThreadQuery{Text: "unheard"})

	second := t.post(a.ID) // another post's words do not count
	second.Message = pa.Message
	if err := t.store.PutPost(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	t.digest(second.ID, "lazy dog")
	t.threads(mailflow.ThreadQuery{Text: "fox dog"})
	t.threads(mailflow.ThreadQuery{Text: "lazy dog"}, a.ID)
}

func testSearchAgain(t *storeTest) {
	th, p := t.open()
	t.digest(p.ID, "before")
	t.threads(mailflow.ThreadQuery{Text: "before"}, th.ID)
	t.digest(p.ID, "after")
	t.threads(mailflow.ThreadQuery{Text: "before"})
	t.threads(mailflow.ThreadQuery{Text: "after"}, th.ID)
}

func testSearchSyntax(t *storeTest) {
	th, p := t.open()
	t.digest(p.ID, "one AND two OR near NOT star column")
	for _, text := range []string{
		"one AND two", "NOT one", "one OR", "near(one)", `"one"`, `"one`, "one*", "-one", "+one", "^one", "{one", "(two)", ":one", "AND", "NOT",
		"one;two", "'one'", "one\x00two", "one\xff", "star, column.",
	} {
		t.threads(mailflow.ThreadQuery{Text: text}, th.ID)
	}
	for _, text := range []string{
		"title:one", "text : one three", "on*", "onetwo", "one three", "one OR three", "NEAR(one two, 5) four", `""`, "*", " ", "((((", `"`, "''", "--", "\x00",
	} {
		t.threads(mailflow.ThreadQuery{Text: text})
	}
	t.threads(mailflow.ThreadQuery{Text: strings.Repeat("one two ", 500)}, th.ID)
}

func testSearchName(t *storeTest) {
	id := t.put("former name", "lead", "open", 0)
	t.threads(mailflow.ThreadQuery{Text: "name former"}, id)
	th, err := t.store.Thread(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	th.Name = "Jetziger Titel"
	if err := t.store.PutThread(t.Context(), th); err != nil {
		t.Fatal(err)
	}
	t.threads(mailflow.ThreadQuery{Text: "former"})
	t.threads(mailflow.ThreadQuery{Text: "titel"}, id)
	opened, p := t.open()
	t.digest(p.ID, "text")
	t.threads(mailflow.ThreadQuery{Text: "grüße quoted"}, opened.ID)
}
