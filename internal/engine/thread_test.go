// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// opening opens a thread of tickets for what is written to support, and leaves
// the rest.
func opening(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	for _, r := range tx.Pending() {
		if r.Address.Local != "support" {
			continue
		}
		return tx.Claim(r.Address, mailflow.PostTo{Open: &mailflow.Thread{Model: "ticket", Name: "Help"}, Alias: r.Address})
	}
	return nil
}

const brokenMail = "From: Nora <nora@unknown.example>\r\nTo: support@mycompany.com\r\nSubject: It broke\r\n" +
	"Message-Id: <q1@unknown.example>\r\nDate: Mon, 2 Mar 2026 10:29:58 +0100\r\nThread-Index: AdXEDPWnRtGkg8iEQTGqRkyx3nWcyg==\r\n\r\nHelp!\r\n"

// TestMailOpensThread follows a mail into a new thread.
func TestMailOpensThread(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) { cfg.Inbound = mailflow.Route{{Name: "opening", Handler: handle(opening)}} })
	if rs, err := b.offer(stranger(), "nora@unknown.example", brokenMail, "support@mycompany.com"); err != nil || rs[0].Code != 250 {
		t.Fatal(rs, err)
	}
	threads, err := b.store.Threads(t.Context(), mailflow.ThreadQuery{})
	if err != nil || len(threads) != 1 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	th := threads[0]
	if th.Model != "ticket" || th.Name != "Help" || th.State != mailflow.ThreadOpen || th.Domain != "mycompany.com" || th.Created.IsZero() {
		t.Errorf("the thread: %+v", th)
	}
	posts, err := b.store.PostsOf(t.Context(), th.ID)
	if err != nil || len(posts) != 1 {
		t.Fatalf("%d posts, %v", len(posts), err)
	}
	p := posts[0].Post
	if p.MessageID != "<q1@unknown.example>" || p.Kind != mailflow.PostComment || p.Subject != "It broke" || len(p.Refs) != 1 ||
		!p.At.Equal(time.Date(2026, 3, 2, 9, 29, 58, 0, time.UTC)) || p.Message == "" {
		t.Errorf("the post: %+v", p)
	}
}

// TestPostIsDigested has what people read derived behind the commit.
func TestPostIsDigested(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) { cfg.Inbound = mailflow.Route{{Name: "opening", Handler: handle(opening)}} })
	if _, err := b.offer(stranger(), "nora@unknown.example", brokenMail, "support@mycompany.com"); err != nil {
		t.Fatal(err)
	}
	var post mailflow.DigestedPost
	await(t, "the digest", func() bool {
		threads, err := b.store.Threads(t.Context(), mailflow.ThreadQuery{Text: "help"})
		if err != nil || len(threads) != 1 {
			return false
		}
		posts, err := b.store.PostsOf(t.Context(), threads[0].ID)
		if err != nil || len(posts) != 1 || posts[0].Digest == nil {
			return false
		}
		post = posts[0]
		return true
	})
	if strings.TrimSpace(post.Digest.Text) != "Help!" || len(post.Digest.Flaws) != 0 {
		t.Errorf("the digest: %+v", post.Digest)
	}
	left, err := b.store.Undigested(t.Context(), 10)
	if err != nil || len(left) != 0 {
		t.Errorf("%d posts have no digest, %v", len(left), err)
	}
}

// TestReleasedIntoThread decides once more about a mail that was held, since
// its handler panicked: it opens its thread.
func TestReleasedIntoThread(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) {
		cfg.Inbound = mailflow.Route{{Name: "broken", Handler: handle(func(context.Context, *mailflow.Transaction, mailflow.Next) error { panic("oops") })}}
	})
	if _, err := b.offer(stranger(), "nora@unknown.example", brokenMail, "support@mycompany.com"); err != nil {
		t.Fatal(err)
	}
	held, err := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
	if err != nil || len(held) != 1 || held[0].State != mailflow.StateHeld {
		t.Fatalf("%+v, %v", held, err)
	}
	cfg := b.config()
	cfg.Inbound = mailflow.Route{{Name: "opening", Handler: handle(opening)}}
	old := b.gen
	b.gen = b.load(cfg)
	old.Retire()
	if err := b.engine.Act(t.Context(), held[0].ID, mailflow.QueueAct{Kind: mailflow.ActRelease}); err != nil {
		t.Fatal(err)
	}
	await(t, "the thread", func() bool {
		threads, err := b.store.Threads(t.Context(), mailflow.ThreadQuery{})
		return err == nil && len(threads) == 1
	})
	if got := b.states(); len(got) != 1 || got[0] != "dropped support@mycompany.com" {
		t.Errorf("deliveries: %q", got)
	}
}

// TestOperatorRoutes puts what nothing claimed into threads.
func TestOperatorRoutes(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) {
		cfg.Aliases = []mailflow.Alias{{Address: mailflow.MustParseAddress("support@mycompany.com"), Model: "ticket"}}
	})
	if err := b.store.PutContact(t.Context(), &mailflow.Contact{ID: "nora", Addresses: []mailflow.Address{mailflow.MustParseAddress("nora@unknown.example")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.offer(stranger(), "nora@unknown.example", brokenMail, "info@mycompany.com"); err != nil {
			t.Fatal(err)
		}
	}
	box, err := b.store.Unrouted(t.Context(), "", 10)
	if err != nil || len(box) != 2 {
		t.Fatalf("%d entries, %v", len(box), err)
	}
	none := mailflow.Address{}
	id, err := b.engine.Route(t.Context(), box[0].Message, "", mailflow.MustParseAddress("support@mycompany.com"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.engine.Route(t.Context(), box[1].Message, id, none); err != nil || again != id {
		t.Fatalf("into %q, %v", again, err)
	}
	posts, err := b.store.PostsOf(t.Context(), id)
	if err != nil || len(posts) != 2 || posts[0].Author != "nora" {
		t.Errorf("the posts: %+v, %v", posts, err)
	}
	if fs, err := b.store.Followers(t.Context(), id); err != nil || len(fs) != 1 {
		t.Errorf("the followers: %v, %v", fs, err)
	}
	for name, c := range map[string]struct {
		id, thread string
		alias      mailflow.Address
		want       error
	}{
		"routed already": {box[0].Message, id, none, mailflow.ErrState},
		"no entry":       {"nothing", id, none, mailflow.ErrNoRecord},
		"no thread":      {box[1].Message, "nothing", none, mailflow.ErrNoRecord},
		"no alias":       {box[1].Message, "", mailflow.MustParseAddress("x@mycompany.com"), ErrNoAlias},
		"no target":      {box[1].Message, "", none, ErrNoTarget},
	} {
		if _, err := b.engine.Route(t.Context(), c.id, c.thread, c.alias); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestSimulate decides once more about what was received.
func TestSimulate(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.accept("bob@example.net")
	if _, err := b.offer(stranger(), "nora@unknown.example", brokenMail, "support@mycompany.com"); err != nil {
		t.Fatal(err)
	}
	simulate := func(cfg *Config, since time.Time) (int, []string) {
		var found []string
		n, err := b.engine.Simulate(t.Context(), cfg, since, func(d Difference) error {
			found = append(found, d.Recipient+": "+d.Before+" => "+d.After)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, found
	}
	if n, found := simulate(b.config(), time.Time{}); n != 2 || len(found) != 0 {
		t.Errorf("the same configuration: %d, %q", n, found)
	}
	cfg := b.config()
	cfg.Inbound = mailflow.Route{{Name: "opening", Handler: handle(opening)}}
	cfg.Outbound = mailflow.Route{{Name: "choose_server", Handler: choose{"other"}}}
	n, found := simulate(cfg, time.Time{})
	want := []string{
		"bob@example.net: deliver by relay, From anna@mycompany.com, MAIL FROM <anna@mycompany.com> => " +
			"deliver by other, From anna@mycompany.com, MAIL FROM <anna@mycompany.com>",
		"support@mycompany.com: unrouted: no handler claimed it => open a thread of ticket support@mycompany.com",
	}
	if n != 2 || strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d messages, differences:\n%s\nwant:\n%s", n, strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	if n, _ := simulate(cfg, time.Now().Add(time.Hour)); n != 0 {
		t.Errorf("%d messages of the future", n)
	}
	if threads, err := b.store.Threads(t.Context(), mailflow.ThreadQuery{}); err != nil || len(threads) != 0 {
		t.Errorf("it opened %d threads, %v", len(threads), err)
	}
	broken := errors.New("enough")
	if _, err := b.engine.Simulate(t.Context(), cfg, time.Time{}, func(Difference) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("ended with %v", err)
	}
}

// unknowing knows no address at RCPT.
type unknowing struct{ handle }

func (unknowing) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectNone, nil
}

// TestPostmasterIsLetIn offers addresses to a route that knows none.
func TestPostmasterIsLetIn(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) { cfg.Inbound = mailflow.Route{{Name: "opening", Handler: unknowing{opening}}} })
	for rcpt, want := range map[string]int{"Postmaster": 250, "postmaster@mycompany.com": 250, "nobody@mycompany.com": 550} {
		rs, err := b.offer(stranger(), "x@example.com", mail, rcpt)
		if code := mailflow.AsReply(err); err != nil && code.Code != want || err == nil && rs[0].Code != want {
			t.Errorf("%s: %v, %v; want %d", rcpt, rs, err, want)
		}
	}
	if box, err := b.store.Unrouted(t.Context(), "", 10); err != nil || len(box) != 2 {
		t.Errorf("%d entries in the unrouted box, %v", len(box), err)
	}
}
