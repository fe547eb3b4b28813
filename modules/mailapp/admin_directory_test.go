// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// directoryOperator is an engine with a store of its own.
type directoryOperator struct {
	*fakeOperator

	store mailflow.Store
}

func (o *directoryOperator) Store() (mailflow.Store, error) { return o.store, nil }

// newDirectory returns the admin API on a store with an alias, two contacts
// and a thread of two posts, beside an alias of the configuration.
func newDirectory(t *testing.T) (http.Handler, mailflow.Store) {
	t.Helper()
	at := mailflow.MustParseAddress
	s := memstore.Open(func() time.Time { return noon })
	ctx := t.Context()
	for _, err := range []error{
		s.PutAlias(ctx, &mailflow.Alias{Address: at("kept@a.example"), Model: "crm.lead", Contact: mailflow.ContactKnown, Set: map[string]string{"team": "x"}}),
		s.PutContact(ctx, &mailflow.Contact{ID: "anna", Name: "Anna", Addresses: []mailflow.Address{at("anna@a.example"), at("both@a.example")}, User: true}),
		s.PutContact(ctx, &mailflow.Contact{ID: "bob", Addresses: []mailflow.Address{at("bob@b.example"), at("both@a.example")}}),
		s.PutThread(ctx, &mailflow.Thread{
			ID: "t1", Model: "crm.lead", Name: "An order", From: "Bob <bob@b.example>", State: mailflow.ThreadOpen,
			Fields: map[string]string{"team": "x"}, Created: noon, Updated: noon,
		}),
		s.PutThread(ctx, &mailflow.Thread{ID: "t2", Model: "ticket", Name: "Other", State: "closed", Foreign: "7", Created: noon, Updated: noon.Add(-time.Hour)}),
		s.Follow(ctx, mailflow.Follower{Thread: "t1", Contact: "bob"}),
		s.PutPost(ctx, &mailflow.Post{ID: "p1", Thread: "t1", Kind: mailflow.PostComment, From: "Bob <bob@b.example>", Subject: "An order", At: noon}),
		s.PutPost(ctx, &mailflow.Post{ID: "p2", Thread: "t1", Kind: mailflow.PostNote, Author: "anna", Parent: "p1", Weak: "by its subject", At: noon}),
		s.PutDigest(ctx, "p1", &mailflow.Digest{
			Text: "Ten pieces, please.\r\nsecret\x1b[2J\r\n", HTML: "<p>secret</p>", Flaws: []string{"no date"},
			Attachments: []mailflow.Attachment{{Name: "plan.pdf", Type: "application/pdf", Size: 9}},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return muxOf(&Admin{
		live: func() (operator, error) { return &directoryOperator{newFakeOperator(), s}, nil },
		services: func() *mailflow.Services {
			return &mailflow.Services{
				Domains: mailflow.Domains{{Name: "a.example", Catchall: []mailflow.Address{at("catchall@a.example")}}},
				Aliases: []mailflow.Alias{{Address: at("sales@a.example"), Model: "crm.lead", Contact: mailflow.ContactEveryone}},
			}
		},
	}), s
}

// askDirectory sends a request and returns the answer.
func askDirectory(h http.Handler, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	const kept = "/mail/aliases/kept@a.example"
	for _, tt := range []struct {
		name, method, target, body string
		status                     int
		want                       string
	}{
		{name: "aliases", target: "/mail/aliases", status: 200, want: `[{"address":"kept@a.example","model":"crm.lead","contact":"known","set":{"team":"x"},"version":1,"source":"store"},{"address":"sales@a.example","model":"crm.lead","contact":"everyone","source":"config"}]`},
		{name: "alias", target: "/mail/aliases/Kept@A.example", status: 200, want: `"source":"store"`},
		{name: "alias of the configuration", target: "/mail/aliases/sales@a.example", status: 200, want: `"source":"config"`},
		{name: "no alias", target: "/mail/aliases/x@a.example", status: 404, want: "alias x@a.example: no such record"},
		{name: "no address", target: "/mail/aliases/x", status: 400, want: "no full address"},
		{name: "put", method: "PUT", target: "/mail/aliases/new@a.example", body: `{"model":"ticket"}`, status: 200, want: `{"address":"new@a.example","model":"ticket","contact":"everyone","version":2,"source":"store"}`},
		{name: "put takes all", method: "PUT", target: kept, body: `{"model":"ticket"}`, status: 200, want: `{"address":"kept@a.example","model":"ticket","contact":"everyone","version":2,"source":"store"}`},
		{name: "put what is shown", method: "PUT", target: kept, body: `{"address":"Kept@a.example","model":"m","version":1,"source":"store","warnings":[]}`, status: 200, want: `"model":"m"`},
		{name: "put placeholder", method: "PUT", target: kept, body: `{"model":"m","refuse":"{env.HOME}"}`, status: 200, want: `"refuse":"{env.HOME}"`},
		{name: "put over the configuration", method: "PUT", target: "/mail/aliases/Sales@a.example", body: `{"model":"m"}`, status: 409, want: "alias sales@a.example stands in the configuration; change it there, or with PATCH /config/apps/mail/aliases/sales@a.example"},
		{name: "put none", method: "PUT", target: kept, body: `{}`, status: 400, want: "it does not say what it opens"},
		{name: "put unknown", method: "PUT", target: kept, body: `{"modl":"m"}`, status: 400, want: `unknown field \"modl\"`},
		{name: "put other", method: "PUT", target: kept, body: `{"address":"x@a.example","model":"m"}`, status: 400, want: "the body names x@a.example"},
		{name: "put two", method: "PUT", target: kept, body: `{"model":"m"}{}`, status: 400, want: "more than one"},
		{name: "put much", method: "PUT", target: kept, body: strings.Repeat(" ", maxRecord+1), status: 413, want: "longer than"},
		{name: "put elsewhere", method: "PUT", target: "/mail/aliases/x@c.example", body: `{"model":"m"}`, status: 200, want: "none of ours"},
		{name: "put on catchall", method: "PUT", target: "/mail/aliases/catchall@a.example", body: `{"model":"m"}`, status: 200, want: "catchall or bounce address"},
		{name: "put with no thread", method: "PUT", target: kept, body: `{"thread":"t1","parent":"t9"}`, status: 200, want: `"warnings":["there is no thread t9; `},
		{name: "patch", method: "PATCH", target: kept, body: `{"contact":"employees"}`, status: 200, want: `"model":"crm.lead","contact":"employees","set":{"team":"x"},"version":2`},
		{name: "patch fields", method: "PATCH", target: kept, body: `{"set":{"a":"b"}}`, status: 200, want: `"set":{"a":"b"},"version":2`},
		{name: "patch fields away", method: "PATCH", target: kept, body: `{"set":{}}`, status: 200, want: `"contact":"known","version":2`},
		{name: "patch new", method: "PATCH", target: "/mail/aliases/new@a.example", body: `{"model":"m"}`, status: 200, want: `"version":2`},
		{name: "delete", method: "DELETE", target: kept, status: 200, want: `"address":"kept@a.example"`},
		{name: "delete none", method: "DELETE", target: "/mail/aliases/x@a.example", status: 404, want: "no such record"},
		{name: "delete of the configuration", method: "DELETE", target: "/mail/aliases/sales@a.example", status: 409, want: "stands in the configuration"},
		{name: "post", method: "POST", target: kept, status: 405, want: "takes DELETE, GET, PATCH, PUT, not POST"},

		{name: "contacts", target: "/mail/contacts", status: 200, want: `[{"id":"anna","name":"Anna","addresses":["anna@a.example","both@a.example"],"user":true},{"id":"bob",`},
		{name: "contacts, few", target: "/mail/contacts?limit=1", status: 200, want: `"user":true}]`},
		{name: "contacts at", target: "/mail/contacts?address=Bob@B.example", status: 200, want: `[{"id":"bob",`},
		{name: "contacts at none", target: "/mail/contacts?address=x@b.example", status: 200, want: `[]`},
		{name: "contacts at nothing", target: "/mail/contacts?address=x@", status: 400, want: `address \"x@\"`},
		{name: "contact", target: "/mail/contacts/anna", status: 200, want: `"name":"Anna"`},
		{name: "contact by address", target: "/mail/contacts/bob@b.example", status: 200, want: `"id":"bob"`},
		{name: "contact by an address of two", target: "/mail/contacts/both@a.example", status: 409, want: "name one of them: anna, bob"},
		{name: "no contact", target: "/mail/contacts/nobody", status: 404, want: "contact nobody: no such record"},
		{name: "put contact", method: "PUT", target: "/mail/contacts/eve", body: `{"addresses":["Eve@B.example","eve@b.example"],"employee":true,"language":"pt-BR"}`, status: 200, want: `{"id":"eve","addresses":["Eve@b.example"],"employee":true,"language":"pt-BR"}`},
		{name: "put contact bare", method: "PUT", target: "/mail/contacts/eve", body: `{}`, status: 400, want: "it has no address"},
		{name: "put contact badly", method: "PUT", target: "/mail/contacts/eve", body: `{"addresses":["eve"]}`, status: 400, want: "JSON object"},
		{name: "put contact without domain", method: "PUT", target: "/mail/contacts/eve", body: `{"addresses":["postmaster"]}`, status: 400, want: "no full address"},
		{name: "put contact of no ID", method: "PUT", target: "/mail/contacts/eve@b.example", body: `{"addresses":["eve@b.example"]}`, status: 400, want: "is no ID"},
		{name: "put contact of another ID", method: "PUT", target: "/mail/contacts/eve", body: `{"id":"x","addresses":["eve@b.example"]}`, status: 400, want: "the body names x"},
		{name: "put contact's language", method: "PUT", target: "/mail/contacts/eve", body: `{"addresses":["eve@b.example"],"language":"x y"}`, status: 400, want: "is no tag"},
		{name: "put contact's name", method: "PUT", target: "/mail/contacts/eve", body: `{"addresses":["eve@b.example"],"name":"x\ny"}`, status: 400, want: "in one line"},
		{name: "patch contact", method: "PATCH", target: "/mail/contacts/anna", body: `{"employee":true}`, status: 200, want: `{"id":"anna","name":"Anna","addresses":["anna@a.example","both@a.example"],"user":true,"employee":true}`},
		{name: "patch contact's addresses", method: "PATCH", target: "/mail/contacts/anna", body: `{"addresses":["a@a.example"],"user":false}`, status: 200, want: `{"id":"anna","name":"Anna","addresses":["a@a.example"]}`},
		{name: "patch new contact", method: "PATCH", target: "/mail/contacts/eve", body: `{"addresses":["eve@b.example"]}`, status: 200, want: `"id":"eve"`},
		{name: "patch by address", method: "PATCH", target: "/mail/contacts/bob@b.example", body: `{}`, status: 400, want: "is no ID"},
		{name: "delete contact", method: "DELETE", target: "/mail/contacts/bob@b.example", status: 200, want: `"id":"bob"`},
		{name: "delete no contact", method: "DELETE", target: "/mail/contacts/eve", status: 404, want: "no such record"},

		{name: "threads", target: "/mail/threads", status: 200, want: `[{"id":"t1","model":"crm.lead","name":"An order","from":"Bob \u003cbob@b.example\u003e","fields":{"team":"x"},"state":"open",`},
		{name: "threads of a model", target: "/mail/threads?model=ticket&limit=5", status: 200, want: `[{"id":"t2"`},
		{name: "threads in a state", target: "/mail/threads?state=closed", status: 200, want: `[{"id":"t2"`},
		{name: "threads, next page", target: "/mail/threads?before=t1", status: 200, want: `[{"id":"t2"`},
		{name: "threads with words", target: "/mail/threads?text=pieces+ten", status: 200, want: `[{"id":"t1"`},
		{name: "threads without", target: "/mail/threads?text=nothing", status: 200, want: `[]`},
		{name: "threads, bad limit", target: "/mail/threads?limit=x", status: 400, want: "limit"},
		{name: "thread", target: "/mail/threads/t1", status: 200, want: `"followers":[{"contact":"bob","addresses":["bob@b.example","both@a.example"],"notes":false}],"posts":[{"id":"p1","thread":"t1",`},
		{name: "thread without bodies", target: "/mail/threads/t1", status: 200, want: `"withheld":true`},
		{name: "no thread", target: "/mail/threads/t9", status: 404, want: "thread t9: no such record"},
		{name: "mail of a post", target: "/mail/threads/t1/posts/p1/message", status: 404, want: "post p1 has no mail"},
		{name: "mail of no post", target: "/mail/threads/t1/posts/p9/message", status: 404, want: "post p9: no such record"},
		{name: "put thread", method: "PUT", target: "/mail/threads/t3", body: `{"model":"m","foreign":"8","responsible":"anna"}`, status: 200, want: `"id":"t3","model":"m","foreign":"8","responsible":"anna","state":"open","created":"20`},
		{name: "put thread over", method: "PUT", target: "/mail/threads/t1", body: `{"model":"m"}`, status: 200, want: `{"id":"t1","model":"m","state":"open","created":"2026-11-21T12:00:00Z",`},
		{name: "put thread that another is", method: "PUT", target: "/mail/threads/t3", body: `{"model":"ticket","foreign":"7"}`, status: 409, want: "another thread is ticket 7 already"},
		{name: "put thread for nobody", method: "PUT", target: "/mail/threads/t3", body: `{"model":"m","responsible":"eve"}`, status: 404, want: "responsible: contact eve: no such record"},
		{name: "put thread of nothing", method: "PUT", target: "/mail/threads/t3", body: `{}`, status: 400, want: "is no model"},
		{name: "put thread of no ID", method: "PUT", target: "/mail/threads/T3", body: `{"model":"m"}`, status: 400, want: "is no ID"},
		{name: "put thread, domain", method: "PUT", target: "/mail/threads/t3", body: `{"model":"m","domain":"A.example"}`, status: 200, want: `"domain":"a.example"`},
		{name: "put thread, bad domain", method: "PUT", target: "/mail/threads/t3", body: `{"model":"m","domain":"a b"}`, status: 400, want: "domain: "},
		{name: "patch thread", method: "PATCH", target: "/mail/threads/t1", body: `{"state":"closed","posts":[],"followers":[]}`, status: 200, want: `"name":"An order","from":"Bob \u003cbob@b.example\u003e","fields":{"team":"x"},"state":"closed","created":"2026-11-21T12:00:00Z"`},
		{name: "patch thread's ID", method: "PATCH", target: "/mail/threads/t1", body: `{"id":"t2"}`, status: 400, want: "the body names t2"},
		{name: "patch no thread", method: "PATCH", target: "/mail/threads/t9", body: `{}`, status: 404, want: "no such record"},
		{name: "delete thread", method: "DELETE", target: "/mail/threads/t1", status: 405, want: "takes GET, PATCH, PUT"},
		{name: "follow", method: "POST", target: "/mail/threads/t1/follow", body: `{"contact":"anna@a.example","notes":"yes"}`, status: 200, want: `{"contact":"anna","name":"Anna","addresses":["anna@a.example","both@a.example"],"notes":true}`},
		{name: "follow, nobody", method: "POST", target: "/mail/threads/t1/follow", body: `{}`, status: 400, want: "name the contact"},
		{name: "follow, unknown", method: "POST", target: "/mail/threads/t1/follow?contact=eve", status: 404, want: "contact eve"},
		{name: "follow, notes", method: "POST", target: "/mail/threads/t1/follow?contact=anna&notes=on", status: 400, want: "notes"},
		{name: "follow nothing", method: "POST", target: "/mail/threads/t9/follow?contact=anna", status: 404, want: "thread t9"},
		{name: "unfollow", method: "POST", target: "/mail/threads/t1/unfollow?contact=bob", status: 200, want: `"followers":[],`},
		{name: "unfollow, no follower", method: "POST", target: "/mail/threads/t1/unfollow?contact=anna", status: 404, want: "no such record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newDirectory(t)
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			status, text := askDirectory(h, httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body)))
			if status != tt.status || !strings.Contains(text, tt.want) || strings.Contains(text, "secret") {
				t.Errorf("%s %s = %d %s\nwant %d …%s…", tt.method, tt.target, status, text, tt.status, tt.want)
			}
		})
	}
}

// TestDirectoryChanges reads the store after changes.
func TestDirectoryChanges(t *testing.T) {
	t.Parallel()
	h, s := newDirectory(t)
	for _, r := range []struct{ method, target, body string }{
		{http.MethodPut, "/mail/aliases/new@a.example", `{"model":"m","owner":"anna@a.example","any_domain":true}`},
		{http.MethodDelete, "/mail/aliases/kept@a.example", ""},
		{http.MethodDelete, "/mail/contacts/bob", ""},
		{http.MethodPatch, "/mail/contacts/anna", `{"inbox":true}`},
	} {
		if status, text := askDirectory(h, httptest.NewRequest(r.method, r.target, strings.NewReader(r.body))); status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", r.method, r.target, status, text)
		}
	}
	aliases, err := s.AliasList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []mailflow.Alias{{
		Address: mailflow.MustParseAddress("new@a.example"), Model: "m", Contact: mailflow.ContactEveryone,
		Owner: "anna@a.example", AnyDomain: true, Version: 2,
	}}
	if diff := cmp.Diff(want, aliases); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	contacts, err := s.ContactList(t.Context(), 10)
	if err != nil || len(contacts) != 1 || !contacts[0].Inbox || !contacts[0].User {
		t.Errorf("contacts %+v, %v", contacts, err)
	}
	if followers, err := s.Followers(t.Context(), "t1"); err != nil || len(followers) != 0 {
		t.Errorf("followers %+v, %v", followers, err)
	}
}

// TestDirectoryHidden shows, and lets go, an alias that came to stand in the
// configuration too.
func TestDirectoryHidden(t *testing.T) {
	t.Parallel()
	h, s := newDirectory(t)
	if err := s.PutAlias(t.Context(), &mailflow.Alias{Address: mailflow.MustParseAddress("sales@a.example"), Model: "old"}); err != nil {
		t.Fatal(err)
	}
	_, text := askDirectory(h, httptest.NewRequest(http.MethodGet, "/mail/aliases", nil))
	var entries []aliasEntry
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 || entries[1].Source != sourceConfig || !entries[2].Hidden {
		t.Errorf("got %s", text)
	}
	if status, text := askDirectory(h, httptest.NewRequest(http.MethodDelete, "/mail/aliases/sales@a.example", nil)); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := askDirectory(h, httptest.NewRequest(http.MethodDelete, "/mail/aliases/sales@a.example", nil)); status != http.StatusConflict {
		t.Errorf("the configured one: %d", status)
	}
}

// TestThreadOnSocket shows what stands in posts to those who are known.
func TestThreadOnSocket(t *testing.T) {
	t.Parallel()
	h, _ := newDirectory(t)
	r := httptest.NewRequest(http.MethodGet, "/mail/threads/t1", nil)
	status, text := askDirectory(h, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix"})))
	var got threadDetails
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	p := got.Posts[0]
	if p.Withheld || !strings.Contains(p.Text, "secret") || p.HTML != "<p>secret</p>" || len(p.Attachments) != 1 || fmt.Sprint(p.Flaws) != "[no date]" {
		t.Errorf("got %+v", p)
	}
}

func TestDirectoryCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		args  []string
		want  []string // in what is printed
		fails string   // in the error; empty if there is none
	}{
		{name: "aliases", args: []string{"alias", "list"}, want: []string{
			"ADDRESS          MODEL     CONTACT   THREAD  OWNER  SET     SOURCE\n",
			"kept@a.example   crm.lead  known     -       -      team=x  store\n",
			"sales@a.example  crm.lead  everyone  -       -      -       config\n",
		}},
		{name: "aliases json", args: []string{"alias", "list", "--json"}, want: []string{`"address": "kept@a.example"`, `"source": "config"`}},
		{name: "set", args: []string{"alias", "set", "new@a.example", "--model", "ticket", "--contact", "known"}, want: []string{"new@a.example opens ticket now, for known\n"}},
		{name: "set thread", args: []string{"alias", "set", "new@a.example", "--thread", "t1"}, want: []string{"new@a.example writes to thread t1 now, for everyone\n"}},
		{name: "set more", args: []string{
			"alias", "set", "kept@a.example", "--json", "--set", "a=b=c", "--set", "d=", "--accept-automatic", "--any-domain",
			"--owner", "anna@a.example", "--parent", "t1", "--refuse", "No.",
		}, want: []string{
			`"model": "crm.lead"`, `"contact": "known"`, `"a": "b=c"`, `"d": ""`, `"accept_automatic": true`, `"any_domain": true`,
			`"owner": "anna@a.example"`, `"parent": "t1"`, `"refuse": "No."`,
		}},
		{name: "set nothing of it", args: []string{"alias", "set", "kept@a.example", "--set", "", "--json"}, want: []string{"\"contact\": \"known\",\n  \"version\""}},
		{name: "set badly", args: []string{"alias", "set", "kept@a.example", "--set", "a"}, fails: `--set "a" is no NAME=VALUE`},
		{name: "set contact badly", args: []string{"alias", "set", "kept@a.example", "--contact", "follower"}, fails: `did you mean "followers"?`},
		{name: "set elsewhere", args: []string{"alias", "set", "x@c.example", "--model", "m"}, want: []string{"Warning: an alias stands in a domain that is none of ours"}},
		{name: "set of the configuration", args: []string{"alias", "set", "sales@a.example", "--model", "m"}, fails: "stands in the configuration"},
		{name: "remove", args: []string{"alias", "remove", "kept@a.example", "x@a.example"}, want: []string{"kept@a.example is removed now\n"}, fails: "alias x@a.example: no such record"},

		{name: "contacts", args: []string{"contact", "list"}, want: []string{
			"ID    NAME  ADDRESSES                       IS        LANGUAGE\n",
			"anna  Anna  anna@a.example, both@a.example  user      -\n",
			"bob   -     bob@b.example, both@a.example   customer  -\n",
		}},
		{name: "contacts json", args: []string{"contact", "list", "--mailbox", "bob@b.example", "--json"}, want: []string{`"id": "bob"`}},
		{name: "no contacts", args: []string{"contact", "list", "--mailbox", "x@b.example"}, want: []string{"Nobody is known.\n"}},
		{name: "set contact", args: []string{"contact", "set", "eve", "--mailbox", "eve@b.example", "--mailbox", "e@b.example", "--employee", "--name", "Eve"}, want: []string{"eve is known now, with eve@b.example, e@b.example\n"}},
		{name: "change contact", args: []string{"contact", "set", "anna", "--user=false", "--inbox", "--language", "ro", "--json"}, want: []string{`"name": "Anna"`, `"inbox": true`, `"language": "ro"`}},
		{name: "remove contact", args: []string{"contact", "remove", "bob", "--json"}, want: []string{`"state": "removed"`}},

		{name: "threads", args: []string{"thread", "list"}, want: []string{
			"ID  MODEL     STATE   UPDATED", "t1  crm.lead  open ", "Bob <bob@b.example>  An order\n", "t2  ticket    closed",
		}},
		{name: "threads json", args: []string{"thread", "list", "--model", "ticket", "--json"}, want: []string{`"id": "t2"`}},
		{name: "no threads", args: []string{"thread", "list", "--state", "lost"}, want: []string{"No thread is like that.\n"}},
		{name: "search", args: []string{"thread", "search", "ten", "Pieces", "--model", "crm.lead"}, want: []string{"t1  crm.lead"}},
		{name: "search in vain", args: []string{"thread", "search", "ten", "nothing"}, want: []string{"No thread is like that.\n"}},
		{name: "search for nothing", args: []string{"thread", "search"}, fails: "requires at least 1 arg"},
		{name: "show", args: []string{"thread", "show", "t1"}, want: []string{
			"Thread:     t1\n", "Followers:  bob <bob@b.example>\n", "Fields:     team=x\n",
			"\ncomment p1, ", "  Subject:  An order\n", "\nnote p2, ", ", not proven: by its subject\n", "  Answers:  p1\n",
		}},
		{name: "show json", args: []string{"thread", "show", "t1", "--json"}, want: []string{`"withheld": true`, `"contact": "bob"`}},
		{name: "show none", args: []string{"thread", "show", "t9"}, fails: "thread t9: no such record"},
		{name: "show raw", args: []string{"thread", "show", "t1", "--raw", "p1"}, fails: "post p1 has no mail"},
		{name: "follow", args: []string{"thread", "follow", "t1", "anna", "nobody", "--notes"}, want: []string{"anna is a follower now\n"}, fails: "contact nobody"},
		{name: "unfollow", args: []string{"thread", "unfollow", "t1", "bob@b.example"}, want: []string{"bob@b.example is no follower now\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newDirectory(t)
			out, err := runCommand(t, h, "", tt.args...)
			if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("error %v, want %q", err, tt.fails)
			}
			missing := slices.DeleteFunc(slices.Clone(tt.want), func(want string) bool { return strings.Contains(out, want) })
			if len(missing) > 0 || strings.Contains(out, "secret") {
				t.Errorf("printed\n%s\nwithout %q", out, missing)
			}
		})
	}
}

// TestPrintPost prints what stands in a post, and nothing that a terminal
// would obey.
func TestPrintPost(t *testing.T) {
	t.Parallel()
	h, _ := newDirectory(t)
	private := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix"})))
	})
	out, err := runCommand(t, private, "", "thread", "show", "t1")
	want := "  Attachment:  plan.pdf, application/pdf, 9 bytes\n  Flaw:        no date\n  | Ten pieces, please.\n  | secret\ufffd[2J\n"
	if err != nil || !strings.Contains(out, want) {
		t.Errorf("%v, printed\n%s\nwant %s", err, out, want)
	}
}
