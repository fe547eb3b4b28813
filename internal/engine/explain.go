// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/rule/domainauth"
	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Question is a message that is to be explained: what would become of it if it
// came now.
type Question struct {
	// Peer is who would send it.
	Peer mailflow.Peer
	// Envelope is with what. Without recipients those of the header are taken.
	Envelope mailflow.Envelope
	// Content is the message; its lines end with CRLF or LF.
	Content io.Reader
}

// Explanation is what would become of a message, and why.
type Explanation struct {
	// From and Subject are of the message, and Size is its length in bytes.
	From    string `json:"from,omitempty"`
	Subject string `json:"subject,omitempty"`
	Size    int64  `json:"size"`
	// Reply is the answer to the whole transaction, where there is one: it
	// fails before any route runs.
	Reply string `json:"reply,omitempty"`
	// Routes are the decisions, one for each route that has recipients.
	Routes []ExplainedRoute `json:"routes,omitempty"`
	// Deliveries are what would be queued.
	Deliveries []ExplainedDelivery `json:"deliveries,omitempty"`
	// Unknown says what the explanation could not know, each in a sentence.
	Unknown []string `json:"unknown,omitempty"`
}

// ExplainedRoute is how one route decided.
type ExplainedRoute struct {
	Route mailflow.RouteName `json:"route"`
	// Domain and Purpose are what the message belongs to.
	Domain  string `json:"domain,omitempty"`
	Purpose string `json:"purpose,omitempty"`
	// Notes are the trace, losers included, in order.
	Notes []mailflow.Note `json:"notes,omitempty"`
	// Recipients are what became of each.
	Recipients []ExplainedRecipient `json:"recipients"`
	// Error says why the route could not decide.
	Error string `json:"error,omitempty"`
}

// ExplainedRecipient is what became of a recipient.
type ExplainedRecipient struct {
	Address string `json:"address"`
	// Outcome is the action in a few words, or the refusal.
	Outcome string `json:"outcome"`
	// Reply is the answer in the session where it refuses.
	Reply string `json:"reply,omitempty"`
	// By is the handler that decided; empty for the gateway itself.
	By string `json:"by,omitempty"`
}

// ExplainedDelivery is a delivery as it would leave.
type ExplainedDelivery struct {
	Server  string         `json:"server,omitempty"`
	State   mailflow.State `json:"state"`
	Reason  string         `json:"reason,omitempty"`
	Purpose string         `json:"purpose,omitempty"`
	Domain  string         `json:"domain,omitempty"`
	// MailFrom and RcptTo are the envelope that the server gets.
	MailFrom string   `json:"mail_from"`
	RcptTo   []string `json:"rcpt_to"`
	// HeaderFrom is the From field as it leaves.
	HeaderFrom string `json:"header_from,omitempty"`
	// Header are the changes to the header.
	Header []mailflow.HeaderChange `json:"header,omitempty"`
	// SignAs is the domain of its DKIM signature.
	SignAs string `json:"sign_as,omitempty"`
	// Limits are those of the server and the domain that hold for it.
	Limits []string `json:"limits,omitempty"`
	// DMARC is what a receiver's verdict will rest on.
	DMARC []domainauth.Finding `json:"dmarc,omitempty"`
}

// Explain decides about a message as if it came now, by the newest
// configuration and against the live state, and changes nothing.
func (e *Engine) Explain(ctx context.Context, q Question) (*Explanation, error) {
	g := e.pin()
	if g == nil {
		return nil, ErrNotRunning
	}
	defer e.unpin(g)
	return g.explain(ctx, q, e.now())
}

// ExplainBy is [Engine.Explain] by another configuration, which is not
// prepared. Without an active configuration the state is unknown, and the
// explanation says so.
func (e *Engine) ExplainBy(ctx context.Context, cfg *Config, q Question) (*Explanation, error) {
	var store *openStore
	if newest := e.pin(); newest != nil {
		defer e.unpin(newest)
		store = newest.store
	}
	g, err := newGeneration(e, cfg, store)
	if err != nil {
		return nil, err
	}
	defer g.cancel()
	return g.explain(ctx, q, e.now())
}

// explain answers q by g.
func (g *Generation) explain(ctx context.Context, q Question, now time.Time) (*Explanation, error) {
	x := &Explanation{}
	scratch := memstore.Open(g.engine.now)
	defer func() { _ = scratch.Close() }() // memory
	spool, err := scratch.Spool(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	defer spool.Discard()
	msg, err := receive(spool, q.Content)
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	defer func() { _ = msg.Body.Close() }() // memory
	x.From, x.Subject, x.Size = msg.Header.Get("From"), msg.Header.Get("Subject"), msg.Size()

	var view mailflow.View = scratch
	if g.store != nil {
		view = g.store
	} else {
		x.Unknown = append(x.Unknown, "The gateway does not run here: its keys, its threads, what its limits have left "+
			"and which servers are down are unknown.")
	}
	peer, env := q.Peer, q.Envelope
	peer.At = now
	c := &deliberation{generation: g, peer: &peer, env: &env, msg: msg, spool: spool, now: now}
	c.msg.ID = explainedID
	if len(env.Recipients) == 0 && !peer.Submits {
		if env.Recipients, err = c.named(ctx, view); err != nil {
			return nil, err
		}
	}
	if len(env.Recipients) == 0 {
		env.Recipients = recipientsOf(msg.Header)
	}
	if err := c.admit(ctx, x, view); err != nil {
		x.Reply = mailflow.AsReply(err).String()
		return x, nil
	}
	if len(c.inbound)+len(c.outbound) > 0 {
		c.explainDecision(ctx, x, view)
	}
	return x, nil
}

// explainedID is the ID of a message that does not exist.
const explainedID = "00000000000000000000"

// maxExplained bounds the recipients that are read from a header.
const maxExplained = 100

// recipientsOf returns the recipients that a header names.
func recipientsOf(h mailflow.Header) []mailflow.Recipient {
	var rs []mailflow.Recipient
	for _, name := range [...]string{"To", "Cc", "Bcc"} {
		for _, a := range h.Addresses(name) {
			known := func(r mailflow.Recipient) bool { return r.Address.Is(a) }
			if len(rs) < maxExplained && !slices.ContainsFunc(rs, known) {
				rs = append(rs, mailflow.Recipient{Address: a})
			}
		}
	}
	return rs
}

// errNobody is the answer to a message without recipients.
var errNobody = &mailflow.Reply{Code: 503, Enhanced: mailflow.EnhancedCode{5, 5, 1}, Text: "The message has no recipients"}

// admit asks the routes about each recipient, as RCPT does. Those that are
// refused there are explained; the others are left to decide about.
func (c *deliberation) admit(ctx context.Context, x *Explanation, view mailflow.View) error {
	if len(c.env.Recipients) == 0 {
		return errNobody
	}
	all := c.env.Recipients
	c.env.Recipients = nil
	for _, r := range all {
		route, err := c.generation.routeOf(ctx, view, c.peer, r.Address)
		if err == nil {
			err = c.generation.admit(ctx, view, route, c.peer, c.env, r)
		}
		switch {
		case err != nil:
			reply := mailflow.AsReply(err)
			x.Routes = append(x.Routes, ExplainedRoute{Route: route, Recipients: []ExplainedRecipient{{
				Address: r.Address.String(), Outcome: "refused at RCPT", Reply: reply.String(),
			}}})
			continue
		case route == mailflow.Inbound:
			c.inbound = append(c.inbound, r)
		default:
			c.outbound = append(c.outbound, r)
		}
		c.env.Recipients = append(c.env.Recipients, r)
	}
	return nil
}

// explainDecision runs the routes and tells what they decided.
func (c *deliberation) explainDecision(ctx context.Context, x *Explanation, view mailflow.View) {
	j, err := c.decide(ctx, view)
	for _, tx := range c.runs {
		r := ExplainedRoute{Route: tx.Route, Domain: tx.Domain, Purpose: tx.Purpose, Notes: tx.Trace.Notes()}
		for _, v := range tx.Verdicts() {
			r.Recipients = append(r.Recipients, explainVerdict(v))
		}
		x.Routes = append(x.Routes, r)
	}
	if err != nil {
		last := len(x.Routes) - 1
		var reply *mailflow.Reply
		if last >= 0 && !errors.As(err, &reply) {
			x.Routes[last].Error = err.Error()
		}
		x.Reply = mailflow.AsReply(err).String()
		return
	}
	if j.decision == nil {
		return
	}
	for i := range j.decision.Deliveries {
		x.Deliveries = append(x.Deliveries, c.explainDelivery(&j.decision.Deliveries[i]))
	}
}

func explainVerdict(v mailflow.Verdict) ExplainedRecipient {
	r := ExplainedRecipient{Address: v.Recipient.Address.String(), By: v.By, Outcome: "pending"}
	switch {
	case v.Reply != nil:
		r.Outcome, r.Reply = "refused", v.Reply.String()
	case v.Action != nil:
		r.Outcome = v.Action.String()
	}
	return r
}

// explainDelivery tells how d would leave.
func (c *deliberation) explainDelivery(d *mailflow.Delivery) ExplainedDelivery {
	e := ExplainedDelivery{
		Server: d.Server, State: d.State, Reason: d.Reason, Purpose: d.Purpose, Domain: d.Domain,
		MailFrom: d.Envelope.From.String(), RcptTo: addresses(d.Envelope.Recipients),
		Header: d.Header, SignAs: d.SignAs, HeaderFrom: asSent(c.msg.Header, d).Get("From"),
	}
	if d.Limited {
		e.Limits = c.generation.limitsOf(d)
	}
	if d.State != mailflow.StateCaptured {
		e.DMARC = domainauth.Foresee(domainauth.Identities{
			From: sentAs(c.msg.Header, d), Envelope: d.Envelope.From,
			Hello: c.generation.config.Hostname, SignedAs: d.SignAs,
		})
	}
	return e
}

// limitsOf returns the limits of d's server and domain as texts.
func (g *Generation) limitsOf(d *mailflow.Delivery) []string {
	var texts []string
	if s, ok := g.server(d.Server); ok {
		for _, l := range s.Limits {
			texts = append(texts, l.String()+" of server "+s.Name)
		}
	}
	if domain := g.config.Domains.Find(d.Domain); domain != nil {
		for _, l := range domain.Limits {
			texts = append(texts, l.String()+" of domain "+domain.Name)
		}
	}
	return texts
}
