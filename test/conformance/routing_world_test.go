// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// scenario is routing-scenario.json: the state before each case.
type scenario struct {
	CompanyName  string `json:"company_name"`
	CompanyEmail string `json:"company_email"`
	Domains      []struct {
		Name        string `json:"name"`
		Bounce      string `json:"bounce"`
		Catchall    string `json:"catchall"`
		DefaultFrom string `json:"default_from"`
	} `json:"domains"`
	Users []struct {
		Name         string `json:"name"`
		Email        string `json:"email"`
		Notification string `json:"notification"`
	} `json:"users"`
	Partners []struct {
		Name  string `json:"name"`
		Email string `json:"email"`
	} `json:"partners"`
	Employees []struct {
		Name      string `json:"name"`
		WorkEmail string `json:"work_email"`
	} `json:"employees"`
	Records []struct {
		Key       string   `json:"key"`
		Model     string   `json:"model"`
		Name      string   `json:"name"`
		EmailFrom string   `json:"email_from"`
		Followers []string `json:"followers"`
	} `json:"records"`
	Messages []struct {
		MessageID string `json:"message_id"`
		Record    string `json:"record"`
		Model     string `json:"model"`
		ResID     int    `json:"res_id"`
		Partner   string `json:"partner"`
		Author    string `json:"author"`
		Subtype   string `json:"subtype"`
	} `json:"messages"`
	Aliases []struct {
		Name     string  `json:"name"`
		Model    string  `json:"model"`
		Domain   *string `json:"domain"`
		Contact  string  `json:"contact"`
		Force    string  `json:"force"`
		Parent   string  `json:"parent"`
		Refuse   string  `json:"bounced_content"`
		Local    bool    `json:"incoming_local"`
		Defaults string  `json:"defaults"`
	} `json:"aliases"`
}

// world is the scenario in a store that is copied for each case.
type world struct {
	scenario scenario
	template string
	began    time.Time
	// keys are the recorder's names of threads by their IDs.
	keys map[string]string
	// contacts are the addresses of contacts by their IDs, ids the reverse.
	contacts, ids map[string]string
}

// newWorld builds the scenario.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		template: filepath.Join(t.TempDir(), "template"), began: time.Now().Add(-24 * time.Hour),
		keys: make(map[string]string), contacts: make(map[string]string), ids: make(map[string]string),
	}
	readVectors(t, "routing-scenario.json", &w.scenario)
	store, err := sqlstore.Open(t.Context(), sqlstore.Options{Dir: w.template, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, build := range []func(context.Context, mailflow.Store) error{w.people, w.records, w.messages, w.aliases} {
		if err := build(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// people adds the contacts.
func (w *world) people(ctx context.Context, store mailflow.Store) error {
	put := func(name, email string, c mailflow.Contact) error {
		// Of a text with several addresses Odoo knows a contact by the first.
		as := mailflow.ParseHeader([]byte("To: " + email + "\r\n\r\n")).Addresses("To")
		c.ID, c.Name, c.Addresses = fmt.Sprintf("c%03d", len(w.contacts)), name, as[:1]
		key := as[0].Key()
		w.contacts[c.ID] = key
		if _, twin := w.ids[key]; !twin {
			w.ids[key] = c.ID
		}
		return store.PutContact(ctx, &c)
	}
	for _, u := range w.scenario.Users {
		if err := put(u.Name, u.Email, mailflow.Contact{User: true, Inbox: u.Notification == "inbox"}); err != nil {
			return err
		}
	}
	for _, p := range w.scenario.Partners {
		if err := put(p.Name, p.Email, mailflow.Contact{}); err != nil {
			return err
		}
	}
	for _, e := range w.scenario.Employees {
		if err := put(e.Name, e.WorkEmail, mailflow.Contact{Employee: true}); err != nil {
			return err
		}
	}
	return nil
}

// thread adds a thread under the recorder's name of it.
func (w *world) thread(ctx context.Context, store mailflow.Store, key string, th mailflow.Thread) error {
	th.ID = strings.NewReplacer(":", "-", " ", "-").Replace(strings.ToLower(key))
	w.keys[th.ID] = key
	if th.State == "" {
		th.State = mailflow.ThreadOpen
	}
	if th.Created.IsZero() {
		th.Created = w.began
	}
	th.Updated = th.Created
	return store.PutThread(ctx, &th)
}

// records adds the threads with their followers.
func (w *world) records(ctx context.Context, store mailflow.Store) error {
	for _, r := range w.scenario.Records {
		if err := w.thread(ctx, store, r.Key, mailflow.Thread{Model: r.Model, Name: r.Name, From: r.EmailFrom, Domain: w.scenario.Domains[0].Name}); err != nil {
			return err
		}
		for _, f := range r.Followers {
			if err := store.Follow(ctx, mailflow.Follower{Thread: strings.ToLower(r.Key), Contact: w.ids[f]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// messages adds the posts. One on a record that does not exist is in a thread
// that is gone; one on a contact is in a thread about him; one without a
// record is no post.
func (w *world) messages(ctx context.Context, store mailflow.Store) error {
	for i, m := range w.scenario.Messages {
		key := m.Record
		switch {
		case m.Partner != "":
			key = m.Model + ":missing"
			if err := w.thread(ctx, store, key, mailflow.Thread{Model: m.Model, Name: m.Partner}); err != nil {
				return err
			}
		case key == "" && m.Model == "":
			continue
		case key == "":
			key = fmt.Sprintf("gone %d", m.ResID)
			if err := w.thread(ctx, store, key, mailflow.Thread{Model: m.Model, State: mailflow.ThreadGone}); err != nil {
				return err
			}
		}
		p := mailflow.Post{
			ID: fmt.Sprintf("p%03d", i), Thread: w.idOf(key), MessageID: m.MessageID,
			Author: w.ids[m.Author], From: m.Author, Kind: mailflow.PostComment, At: w.began.Add(time.Duration(i) * time.Second),
		}
		if m.Subtype == subtypes[mailflow.PostNote] {
			p.Kind = mailflow.PostNote
		}
		if err := store.PutPost(ctx, &p); err != nil {
			return err
		}
	}
	return nil
}

// subtypes are the recorder's names of the kinds of posts.
var subtypes = map[mailflow.PostKind]string{
	mailflow.PostComment: "mail.mt_comment", mailflow.PostNote: "mail.mt_note",
}

// idOf returns the ID of the thread with the recorder's name.
func (w *world) idOf(key string) string {
	for id, k := range w.keys {
		if k == key {
			return id
		}
	}
	return ""
}

// contactRules are the recorder's names of contact rules.
var contactRules = map[string]mailflow.ContactRule{
	"": mailflow.ContactEveryone, "everyone": mailflow.ContactEveryone, "partners": mailflow.ContactKnown,
	"followers": mailflow.ContactFollowers, "employees": mailflow.ContactEmployees,
}

// aliases adds the aliases. One without a domain cannot be written to.
func (w *world) aliases(ctx context.Context, store mailflow.Store) error {
	for _, a := range w.scenario.Aliases {
		domain := w.scenario.Domains[0].Name
		if a.Domain != nil {
			domain = *a.Domain
		}
		if domain == "" {
			continue
		}
		put := mailflow.Alias{
			Address: mailflow.Address{Local: a.Name, Domain: domain}, Model: a.Model, Contact: contactRules[a.Contact],
			Thread: w.idOf(a.Force), Parent: w.idOf(a.Parent), AnyDomain: a.Local, Set: literals(a.Defaults),
			Refuse: strings.NewReplacer("<p>", "", "</p>", "").Replace(a.Refuse),
		}
		if err := store.PutAlias(ctx, &put); err != nil {
			return err
		}
	}
	return nil
}

// literals reads the text fields of a Python dictionary.
func literals(dict string) map[string]string {
	set := make(map[string]string)
	for pair := range strings.SplitSeq(strings.Trim(dict, "{}"), ",") {
		if key, value, ok := strings.Cut(pair, ":"); ok {
			set[strings.Trim(key, " '")] = strings.Trim(value, " '")
		}
	}
	if len(set) == 0 {
		return nil
	}
	return set
}

// config returns the mail app of a case, with its store in dir, and the codes
// of what Odoo would have taken otherwise.
func (w *world) config(c *routingCase, dir string) (object, []string) {
	var codes []string
	domains := object{}
	for i, d := range w.scenario.Domains {
		if c.Setup.NoDomain {
			break
		}
		block := object{
			"catchall": []string{d.Catchall}, "bounce": []string{d.Bounce}, "default_from": d.DefaultFrom,
			"company": w.scenario.CompanyName, "company_address": w.scenario.CompanyEmail, "subaddress": "off",
		}
		if i == 0 {
			block["default"] = true
			if allowed := c.Setup.Params["mail.catchall.domain.allowed"]; allowed != "" {
				block["allowed_domains"] = []string{allowed}
				if strings.ToLower(strings.ReplaceAll(allowed, " ", "")) != allowed {
					codes = append(codes, fix+"params")
				}
			}
		}
		domains[d.Name] = block
	}
	var route []object
	for _, handler := range []string{"keep_notes", "authenticate", "dedupe", "replies", "aliases", "catchall", "fallback", "unrouted"} {
		route = append(route, object{"handle": object{"handler": handler}})
	}
	return object{
		"hostname": "mx.mycompany.example", "behavior": mailflow.BehaviorOdoo, "domains": domains,
		"store":     object{"module": "watched", "dir": dir},
		"listeners": object{"box": object{"protocol": "mailbox", "socket": filepath.Join(filepath.Dir(w.template), "box.sock")}},
		"routes":    object{"inbound": route},
	}, codes
}

// copyTo copies the store of the scenario.
func (w *world) copyTo(dir string) error { return os.CopyFS(dir, os.DirFS(w.template)) }

// setUp makes the changes of a case. Without a domain only the aliases can be
// written to that have none; the thread that a mailbox always writes to is
// that of an alias with the mailbox's address.
func (w *world) setUp(ctx context.Context, store mailflow.Store, c *routingCase) error {
	if c.Thread != "" {
		a := mailflow.Alias{Address: box, Model: c.Fallback, Thread: w.idOf(c.Thread), Contact: mailflow.ContactEveryone}
		if err := store.PutAlias(ctx, &a); err != nil {
			return err
		}
	}
	if c.Setup.NoDomain {
		aliases, err := store.AliasList(ctx)
		if err != nil {
			return err
		}
		for _, a := range aliases {
			if a.AnyDomain {
				continue
			}
			if err := store.DropAlias(ctx, a.Address); err != nil {
				return err
			}
		}
	}
	for i, r := range c.Setup.Records {
		for n := range r.Count {
			th := mailflow.Thread{Model: r.Model, Name: "before", From: r.EmailFrom, Created: time.Now().Add(-time.Duration(r.Minutes) * time.Minute)}
			if err := w.thread(ctx, store, fmt.Sprintf("before-%d-%d", i, n), th); err != nil {
				return err
			}
		}
	}
	for i, m := range c.Setup.Messages {
		for n := range m.Count {
			p := mailflow.Post{
				ID: fmt.Sprintf("p9%d-%d", i, n), Thread: w.idOf(m.Record), MessageID: fmt.Sprintf("<before-%d-%d@x.example>", i, n),
				Author: w.ids[m.Author], From: m.EmailFrom, Kind: mailflow.PostComment, At: time.Now().Add(-time.Duration(m.Minutes) * time.Minute),
			}
			if err := store.PutPost(ctx, &p); err != nil {
				return err
			}
		}
	}
	return nil
}

// threadsIn returns the threads of the store by ID.
func threadsIn(ctx context.Context, store mailflow.Store) (map[string]mailflow.Thread, error) {
	all, err := store.Threads(ctx, mailflow.ThreadQuery{Limit: 10000})
	if err != nil {
		return nil, err
	}
	by := make(map[string]mailflow.Thread, len(all))
	for _, t := range all {
		by[t.ID] = t
	}
	return by, nil
}

// postsIn returns the posts of the threads by ID.
func postsIn(ctx context.Context, store mailflow.Store, threads map[string]mailflow.Thread) (map[string]mailflow.Post, error) {
	by := make(map[string]mailflow.Post)
	for _, id := range slices.Sorted(maps.Keys(threads)) {
		posts, err := store.PostsOf(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, p := range posts {
			by[p.ID] = p.Post
		}
	}
	return by, nil
}
