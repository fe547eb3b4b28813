// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(noteKeeper))
	caddy.RegisterModule(new(mailbox))
	caddy.RegisterModule(new(watchedStore))
}

// noteKeeper is a handler that keeps the trace of what the handlers behind it
// decide; what is decided once more counts.
type noteKeeper struct{}

var notes struct {
	sync.Mutex

	latest []mailflow.Note
}

// CaddyModule returns the Caddy module information.
func (*noteKeeper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.keep_notes", New: func() caddy.Module { return new(noteKeeper) }}
}

// Handle implements mailflow.Handler.
func (*noteKeeper) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	err := next(ctx, tx)
	notes.Lock()
	defer notes.Unlock()
	notes.latest = slices.Clone(tx.Trace.Notes())
	return err
}

// mailbox is a listener through which the runner hands in fetched mail.
type mailbox struct {
	Socket string `json:"socket"`
}

// gates are the ways into the gateways that were started.
var gates = make(chan mailflow.Gate, 1)

// CaddyModule returns the Caddy module information.
func (*mailbox) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.listeners.mailbox", New: func() caddy.Module { return new(mailbox) }}
}

// Addresses tells the app where to listen.
func (m *mailbox) Addresses() []string { return []string{"unix/" + m.Socket} }

// Serve implements mailflow.Listener: nobody speaks with it.
func (*mailbox) Serve(ctx context.Context, _ net.Listener, gate mailflow.Gate) error {
	select {
	case <-gates:
	default:
	}
	gates <- gate
	<-ctx.Done()
	return nil
}

// watchedStore is the sqlite store, which the runner looks into.
type watchedStore struct {
	Dir string `json:"dir"`
}

var watched struct {
	sync.Mutex

	store mailflow.Store
}

// CaddyModule returns the Caddy module information.
func (*watchedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.stores.watched", New: func() caddy.Module { return new(watchedStore) }}
}

// Identity implements mailflow.StoreOpener.
func (s *watchedStore) Identity() string { return "watched " + s.Dir }

// Open implements mailflow.StoreOpener.
func (s *watchedStore) Open(ctx context.Context) (mailflow.Store, error) {
	store, err := sqlstore.Open(ctx, sqlstore.Options{Dir: s.Dir, Now: time.Now})
	if err != nil {
		return nil, err
	}
	watched.Lock()
	defer watched.Unlock()
	watched.store = store
	return store, nil
}

// provider is the authserv-id of the mailbox's provider, and box its address.
const provider = "mx.provider.example"

var box = mailflow.MustParseAddress("box@provider.example")

// play lets the gateway decide about the mail of a case.
func (w *world) play(t *testing.T, c *routingCase) routingVerdict {
	t.Helper()
	dir := t.TempDir()
	defer func() { _ = os.RemoveAll(dir) }()
	mail, codes := w.config(c, dir)
	if err := w.copyTo(dir); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "PANIC"}}},
		"apps":    object{"mail": mail},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		// What Odoo takes and then does not understand is refused.
		return routingVerdict{ID: c.ID, Verdict: fix + "params", Got: outcome{Outcome: "error", Error: err.Error(), Threads: []string{}, Reasons: []string{}}}
	}
	defer func() {
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}()
	watched.Lock()
	store := watched.store
	watched.Unlock()
	if err := w.setUp(t.Context(), store, c); err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	gate := <-gates
	for _, mail := range c.Setup.Mails {
		if err := fetch(t.Context(), gate, c.Fallback, crlf(mail)); err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
	}
	before, err := w.look(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.mail()
	if err != nil {
		t.Fatal(err)
	}
	failure := fetch(t.Context(), gate, c.Fallback, raw)
	after, err := w.look(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	v := routingVerdict{ID: c.ID, Got: w.outcome(before, after, failure)}
	v.Verdict, v.Fields = judgeRouting(v.Got, c.Expect["17.0"], append(codes, after.fixes...))
	return v
}

// fetch hands a mail in as a fetcher does. The mailbox's provider says that
// the domains in From and Return-Path are proven.
func fetch(ctx context.Context, gate mailflow.Gate, fallback, mail string) error {
	h := mailflow.ParseHeader([]byte(mail))
	results := "Authentication-Results: " + provider
	if from := h.From(); from.Domain != "" {
		results += "; dmarc=pass header.from=" + from.Domain
	}
	if path := h.Addresses("Return-Path"); len(path) > 0 && path[0].Domain != "" {
		results += "; spf=pass smtp.mailfrom=" + path[0].Domain
	}
	in, err := gate.Begin(ctx, &mailflow.Peer{
		Listener: "box", Protocol: "IMAP", Fetched: true, Mailbox: box,
		Fallback: fallback, TrustAuth: []string{provider}, At: time.Now(),
	}, &mailflow.Envelope{})
	if err != nil {
		return err
	}
	_, err = in.Commit(ctx, io.MultiReader(strings.NewReader(results+"\r\n"), strings.NewReader(mail)))
	return err
}

// found is what the store has at one time, and the trace that led to it.
type found struct {
	threads  map[string]mailflow.Thread
	posts    map[string]mailflow.Post
	follow   map[string][]string
	unrouted map[string]mailflow.Unrouted
	sent     map[string]sentRefusal
	won      []string
	fixes    []string
}

// look reads the store and the latest trace.
func (w *world) look(ctx context.Context, store mailflow.Store) (*found, error) {
	s := &found{follow: make(map[string][]string), unrouted: make(map[string]mailflow.Unrouted), sent: make(map[string]sentRefusal)}
	var err error
	if s.threads, err = threadsIn(ctx, store); err != nil {
		return nil, err
	}
	if s.posts, err = postsIn(ctx, store, s.threads); err != nil {
		return nil, err
	}
	for id := range s.threads {
		fs, err := store.Followers(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, f := range fs {
			s.follow[id] = append(s.follow[id], w.contacts[f.Contact])
		}
	}
	box, err := store.Unrouted(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	for _, u := range box {
		s.unrouted[u.Message] = u
		if strings.Contains(u.Reason, "within the hour") {
			s.fixes = append(s.fixes, fix+"loop_refusal")
		}
	}
	if err := s.lookAtSent(ctx, store); err != nil {
		return nil, err
	}
	notes.Lock()
	defer notes.Unlock()
	for _, n := range notes.latest {
		if strings.HasPrefix(n.Code, fix) {
			s.fixes = append(s.fixes, n.Code)
		}
		if n.Won {
			s.won = append(s.won, n.Code)
		}
	}
	return s, nil
}

// lookAtSent reads the refusals, which are captured.
func (s *found) lookAtSent(ctx context.Context, store mailflow.Store) error {
	queued, err := store.Deliveries(ctx, mailflow.QueueQuery{})
	if err != nil {
		return err
	}
	for _, q := range queued {
		body, err := store.Body(ctx, q.Message)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		if err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return err
		}
		h := mailflow.ParseHeader(raw)
		r := sentRefusal{
			MailFrom: q.Envelope.From.String(), From: h.Get("From"), To: h.Get("To"), Subject: h.Get("Subject"),
			ReplyTo: h.Get("Reply-To"), References: h.Get("References"), AutoSubmitted: h.Get("Auto-Submitted"),
		}
		for _, rcpt := range q.Envelope.Recipients {
			r.RcptTo = append(r.RcptTo, rcpt.Address.String())
		}
		s.sent[q.ID] = r
	}
	return nil
}

// reasonOf are the recorder's names of the codes of the trace that differ.
var reasonOf = map[string]string{
	"reply": "route_reply", "alias": "route_alias", "alias_thread": "route_alias", "fallback": "route_fallback",
}

// outcome returns what became of a mail that changed the store from before to
// after, in the recorder's words.
func (w *world) outcome(before, after *found, failure error) outcome {
	o := outcome{Threads: []string{}, Reasons: []string{}}
	for _, code := range after.won {
		code = cmp.Or(reasonOf[code], code)
		if code != "unrouted" && !slices.Contains(o.Reasons, code) {
			o.Reasons = append(o.Reasons, code)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.posts)) {
		p := after.posts[id]
		if _, old := before.posts[id]; old {
			continue
		}
		o.Threads = append(o.Threads, w.keyOf(before, after.threads[p.Thread]))
		o.Messages = append(o.Messages, routedMessage{
			Thread: w.keyOf(before, after.threads[p.Thread]), MessageID: p.MessageID, Subtype: subtypes[p.Kind],
			Author: orNil(w.contacts[p.Author]), EmailFrom: plainFrom(p.From), Subject: orNil(p.Subject),
			Parent: orNil(after.posts[p.Parent].MessageID),
		})
	}
	for _, id := range slices.Sorted(maps.Keys(after.threads)) {
		t := after.threads[id]
		if _, old := before.threads[id]; !old {
			o.Records = append(o.Records, newRecord{
				Model: t.Model, Name: orNil(t.Name), EmailFrom: plainFrom(t.From), Followers: append([]string{}, after.follow[id]...),
			})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.sent)) {
		if _, old := before.sent[id]; !old {
			o.Sent = append(o.Sent, after.sent[id])
		}
	}
	o.Outcome = classify(&o, failure)
	if o.Outcome == "no_route" {
		o.Error = "no_route"
	}
	return o
}

// classify returns the recorder's class of an outcome.
func classify(o *outcome, failure error) string {
	starts := func(prefix string) bool {
		return slices.ContainsFunc(o.Reasons, func(r string) bool { return strings.HasPrefix(r, prefix) })
	}
	switch {
	case failure != nil:
		return "error"
	case len(o.Threads) > 0:
		return "posted"
	case starts("refused_") || starts("alias_misconfigured"):
		return "alias_refused"
	case starts("catchall_"):
		return "catchall_refused"
	case starts("loop_tag_in_references"):
		return "loop_tag_in_references"
	case starts("loop_"):
		return "loop_refused"
	case starts("duplicate_message_id"):
		return "duplicate_message_id"
	case starts("bounce"):
		return "bounce"
	}
	return "no_route"
}

// keyOf returns the recorder's name of a thread.
func (w *world) keyOf(before *found, t mailflow.Thread) string {
	if _, old := before.threads[t.ID]; !old {
		return "new:" + t.Model
	}
	return w.keys[t.ID]
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// plainFrom returns the first author of a From field as the recorder wrote it
// down: decoded, the name in quotes.
func plainFrom(from string) string {
	a := sender.Read(mailflow.ParseHeader([]byte("From: " + from + "\r\n\r\n")))
	switch {
	case a.Address.IsNull():
		return from
	case a.Name == "":
		return a.Address.String()
	}
	return `"` + a.Name + `" <` + a.Address.String() + ">"
}
