// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// whole is a message that nothing has to be added to.
const whole = "From: Mary <mary@customer.example>\r\nTo: bob@example.net\r\nSubject: Hello\r\n" +
	"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-Id: <1@customer.example>\r\n\r\nHow are you?\r\n"

// rewrite is a handler that decides how mail leaves, as those of the default
// route do.
var rewrite = handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Trace.Note("looked_at", "another one")
	tx.Trace.Won("rewritten", "in our name")
	tx.SetSender(mailflow.MustParseAddress("bounce@mycompany.com"))
	tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderSet, Name: "From", Value: `"Mary" <notifications@mycompany.com>`})
	tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderAdd, Name: "Reply-To", Value: "mary@customer.example"})
	tx.Purpose = mailflow.PurposeMass
	tx.Sending.Limited, tx.Sending.SignAs = true, "mycompany.com"
	return next(ctx, tx)
})

// ask returns the explanation of a message, which there must be.
func (b *bench) ask(peer *mailflow.Peer, content string, to ...string) *Explanation {
	b.t.Helper()
	x, err := b.engine.Explain(b.t.Context(), question(peer, content, to...))
	if err != nil {
		b.t.Fatal(err)
	}
	return x
}

// question makes a question of a message of the application.
func question(peer *mailflow.Peer, content string, to ...string) Question {
	q := Question{Peer: *peer, Content: strings.NewReader(content)}
	q.Envelope.From = mailflow.MustParseAddress("app@mycompany.com")
	for _, r := range to {
		q.Envelope.Recipients = append(q.Envelope.Recipients, mailflow.Recipient{Address: mailflow.MustParseAddress(r)})
	}
	return q
}

// outcomes returns what became of the recipients, as "address: outcome".
func (x *Explanation) outcomes() []string {
	var all []string
	for _, r := range x.Routes {
		for _, rcpt := range r.Recipients {
			all = append(all, strings.TrimSuffix(rcpt.Address+": "+rcpt.Outcome+" "+rcpt.Reply, " "))
		}
	}
	return all
}

// TestExplainedIsWhatIsSent explains messages, sends the same ones, and
// compares.
func TestExplainedIsWhatIsSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content    string
		perRcpt    bool
		recipients []string
	}{
		"one delivery":         {content: whole, recipients: []string{"bob@example.net", "eve@example.org"}},
		"one for each":         {content: whole, perRcpt: true, recipients: []string{"bob@example.net", "eve@example.org"}},
		"recipients of header": {content: whole},
		"unparsable From":      {content: strings.Replace(whole, "Mary <mary@customer.example>", "nobody", 1), recipients: []string{"bob@example.net"}},
		"no From":              {content: whole[strings.Index(whole, "To:"):], recipients: []string{"bob@example.net"}},
		"two From":             {content: "From: eve@example.org\r\n" + whole, recipients: []string{"bob@example.net"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(cfg *Config) {
				cfg.Outbound = mailflow.Route{
					{Name: "rewrite", Handler: handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
						tx.Sending.PerRecipient = c.perRcpt
						return rewrite(ctx, tx, next)
					})},
					{Name: "choose_server", Handler: choose{"relay"}},
				}
			})
			x := b.ask(submitter(), c.content, c.recipients...)
			to := c.recipients
			if to == nil {
				to = []string{"bob@example.net"}
			}
			if _, err := b.offer(submitter(), "app@mycompany.com", c.content, to...); err != nil {
				t.Fatal(err)
			}
			await(t, "all deliveries", func() bool { return len(b.relay.taken()) == len(x.Deliveries) })
			var got, want []ExplainedDelivery
			for i := range x.Deliveries {
				e := x.Deliveries[i]
				got = append(got, ExplainedDelivery{
					Server: e.Server, Purpose: e.Purpose, Domain: e.Domain, SignAs: e.SignAs, Header: e.Header,
					MailFrom: withoutToken(e.MailFrom), RcptTo: e.RcptTo, HeaderFrom: e.HeaderFrom,
				})
			}
			for _, s := range b.relay.taken() {
				d := s.delivery
				want = append(want, ExplainedDelivery{
					Server: d.Server, Purpose: d.Purpose, Domain: d.Domain, SignAs: d.SignAs, Header: d.Header,
					MailFrom: withoutToken(d.Envelope.From.String()), RcptTo: addresses(d.Envelope.Recipients),
					HeaderFrom: mailflow.ParseHeader([]byte(s.bytes)).Get("From"),
				})
			}
			slices.SortFunc(want, func(a, b ExplainedDelivery) int { return slices.Compare(a.RcptTo, b.RcptTo) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sent (-) is not what was explained (+):\n%s", diff)
			}
		})
	}
}

// withoutToken returns a reverse-path without what names its delivery.
func withoutToken(a string) string {
	local, rest, ok := strings.Cut(a, "+")
	if !ok {
		return a
	}
	_, domain, _ := strings.Cut(rest, "@")
	return local + "+TOKEN@" + domain
}

// TestExplainTellsWhy looks at what an explanation says beside the deliveries.
func TestExplainTellsWhy(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) {
		cfg.Outbound = mailflow.Route{{Name: "rewrite", Handler: rewrite}, {Name: "choose_server", Handler: choose{"relay"}}}
	})
	x := b.ask(submitter(), whole)
	if x.From != "Mary <mary@customer.example>" || x.Subject != "Hello" || x.Size != int64(len(whole)) || x.Unknown != nil {
		t.Errorf("it says %+v", x)
	}
	want := []ExplainedRoute{{
		Route: mailflow.Outbound, Domain: "mycompany.com", Purpose: mailflow.PurposeMass,
		Notes: []mailflow.Note{
			{Handler: "rewrite", Code: "looked_at", Text: "another one"},
			{Handler: "rewrite", Code: "rewritten", Text: "in our name", Won: true},
			{Handler: "choose_server", Code: "server_chosen", Text: "relay", Won: true},
		},
		Recipients: []ExplainedRecipient{{Address: "bob@example.net", Outcome: "deliver by relay", By: "choose_server"}},
	}}
	if diff := cmp.Diff(want, x.Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	var codes []string
	for _, f := range x.Deliveries[0].DMARC {
		codes = append(codes, f.Code)
	}
	if !slices.Equal(codes, []string{"dkim_aligned", "spf_aligned"}) {
		t.Errorf("DMARC rests on %q", codes)
	}
}

// TestExplainRefusals explains what is not taken, or not whole.
func TestExplainRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peer    *mailflow.Peer
		handler handle
		content string
		to      []string
		want    []string // outcomes
		states  []mailflow.State
		reply   string
		fails   string // in the error of the route
	}{
		"no recipients": {peer: submitter(), content: "Subject: x\r\n\r\n", reply: "503 5.5.1 The message has no recipients"},
		"a stranger to the world": {
			peer: stranger(), content: mail, to: []string{"bob@example.net", "info@mycompany.com"},
			want: []string{"bob@example.net: refused at RCPT 550 5.7.1 Relaying denied", "info@mycompany.com: unrouted: no handler claimed it"},
		},
		"refused by a handler": {
			peer: submitter(), content: mail, to: []string{"bob@example.net"},
			handler: func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
				tx.RefuseAll(mailflow.ReplyUnknownRecipient)
				return nil
			},
			want: []string{"bob@example.net: refused 550 5.1.1 No such address here"},
		},
		"a handler fails": {
			peer: submitter(), content: mail, to: []string{"bob@example.net"},
			handler: func(context.Context, *mailflow.Transaction, mailflow.Next) error { return errBroken },
			want:    []string{"bob@example.net: pending"},
			reply:   "451 4.3.0 Local error, try again later", fails: "broken",
		},
		"a handler panics": {
			peer: submitter(), content: mail, to: []string{"bob@example.net"},
			handler: func(context.Context, *mailflow.Transaction, mailflow.Next) error { panic("oops") },
			want:    []string{"bob@example.net: hold: handler look panicked: oops"},
			states:  []mailflow.State{mailflow.StateHeld},
		},
		"captured": {
			peer: submitter(), content: mail, to: []string{"bob@example.net"},
			handler: func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
				tx.ClaimAll(mailflow.Capture{Reason: "a test"})
				return nil
			},
			want:   []string{"bob@example.net: capture: a test"},
			states: []mailflow.State{mailflow.StateCaptured},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(cfg *Config) {
				if c.handler != nil {
					cfg.Outbound = mailflow.Route{{Name: "look", Handler: c.handler}}
				}
			})
			x := b.ask(c.peer, c.content, c.to...)
			if diff := cmp.Diff(c.want, x.outcomes()); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			var states []mailflow.State
			for i := range x.Deliveries {
				states = append(states, x.Deliveries[i].State)
			}
			if !slices.Equal(states, c.states) {
				t.Errorf("deliveries are %q, want %q", states, c.states)
			}
			if x.Reply != c.reply {
				t.Errorf("reply %q, want %q", x.Reply, c.reply)
			}
			if c.fails != "" && !strings.Contains(x.Routes[0].Error, c.fails) {
				t.Errorf("the error is %q", x.Routes[0].Error)
			}
		})
	}
}

// TestExplainChangesNothing explains by the running configuration and by
// another one, and looks at what is left behind.
func TestExplainChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.accept("bob@example.net")
	await(t, "the delivery", func() bool { return slices.Equal(b.states(), []string{"sent bob@example.net"}) })
	depth, err := b.store.Depth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.events) }
	await(t, "its events", func() bool { return told() == 2 })

	other := b.config()
	other.Outbound = mailflow.Route{{Name: "choose_server", Handler: choose{"spare"}}}
	other.Servers = map[string]*Server{"spare": {Server: mailflow.Server{Name: "spare"}, Transport: b.relay}}
	for range 3 {
		b.ask(submitter(), whole, "bob@example.net", "catchall@mycompany.com")
		x, err := b.engine.ExplainBy(t.Context(), other, question(submitter(), whole))
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Deliveries) != 1 || x.Deliveries[0].Server != "spare" || x.Unknown != nil {
			t.Errorf("by the other configuration %+v", x)
		}
	}
	after, err := b.store.Depth(t.Context())
	if diff := cmp.Diff(depth, after); diff != "" || err != nil {
		t.Errorf("the queue differs: %v\n%s", err, diff)
	}
	if got := b.states(); len(got) != 1 {
		t.Errorf("deliveries %q", got)
	}
	if m, err := b.store.Message(t.Context(), explainedID); err == nil {
		t.Errorf("the ledger has %+v", m)
	}
	if box, err := b.store.Unrouted(t.Context(), "", 1); err != nil || len(box) != 0 {
		t.Errorf("the unrouted box has %+v, %v", box, err)
	}
	if n := told(); n != 2 {
		t.Errorf("%d events were told", n)
	}
	if n := len(b.relay.taken()); n != 1 {
		t.Errorf("%d messages were sent", n)
	}
	if n := b.engine.live(); n != 1 {
		t.Errorf("%d generations live", n)
	}
}

// TestExplainWithoutGateway explains by a configuration alone.
func TestExplainWithoutGateway(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	alone := New(Options{Now: b.engine.now})
	q := question(submitter(), whole)
	if _, err := alone.Explain(t.Context(), q); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a configuration: %v", err)
	}
	cfg := b.config()
	cfg.Store = &opener{identity: "locked", err: errBroken}
	x, err := alone.ExplainBy(t.Context(), cfg, q)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Deliveries) != 1 || x.Deliveries[0].Server != "relay" {
		t.Errorf("deliveries %+v", x.Deliveries)
	}
	if len(x.Unknown) != 1 || !strings.Contains(x.Unknown[0], "keys") {
		t.Errorf("unknown is %q", x.Unknown)
	}
	if alone.live() != 0 {
		t.Error("a generation is left")
	}
	cfg.Servers["relay"].FromFilter = []string{"not a filter@@"}
	if _, err := alone.ExplainBy(t.Context(), cfg, question(submitter(), whole)); err == nil {
		t.Error("a broken filter is taken")
	}
}
