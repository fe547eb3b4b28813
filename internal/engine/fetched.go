// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/mailcaddy/mailcaddy/internal/rule/auto"
	"github.com/mailcaddy/mailcaddy/internal/rule/domainauth"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/internal/wire/refusal"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// refusalWindow is the time in which one sender gets at most one refusal by
// mail, so that two machines do not talk to each other for ever.
const refusalWindow = time.Hour

// tellFetched sees to the refused recipients of a fetched message, which has
// no session to refuse in. Its sender gets one mail about them, if that is
// proven or known, no machine, and got none within the hour; else they go to
// the unrouted box. What is refused for now fails the message, so that it
// stays in its mailbox.
func (c *deliberation) tellFetched(ctx context.Context, d *mailflow.Decision, j *judgement, view mailflow.View) error {
	var refused []mailflow.Recipient
	var helps []string
	for i, r := range c.env.Recipients {
		reply := j.replies[i]
		switch {
		case reply.Accepted():
			continue
		case reply.Temporary():
			return reply
		}
		refused = append(refused, r)
		d.Facts = append(d.Facts, j.rests[r.Address]...)
		if text := help(reply); len(helps) == 0 || helps[len(helps)-1] != text {
			helps = append(helps, text)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	to, why, err := c.mayTell(ctx, view)
	if err != nil {
		return err
	}
	if why != "" {
		for i, r := range c.env.Recipients {
			if !j.replies[i].Accepted() {
				d.Unrouted = unroute(d.Unrouted, c.msg.ID, r, "refused: "+j.replies[i].String()+"; its sender is not told: "+why, c.now)
			}
		}
		return nil
	}
	d.Facts = append(d.Facts, mailflow.Fact{
		Kind: mailflow.FactBelow, Key: refusalKey(to), Bound: 1,
		Since: c.now.Add(-refusalWindow), At: c.now, Expires: c.now.Add(refusalWindow),
	})
	if d.Message.Dropped == "" {
		d.Message.Dropped = "refused by mail: " + strings.Join(helps, " ")
	}
	j.refusal = c.refusal(to, refused, strings.Join(helps, "\n\n"))
	return nil
}

// help returns what a refusal with r says to a human.
func help(r *mailflow.Reply) string {
	if r.Help != "" {
		return r.Help
	}
	return r.Text + "."
}

func refusalKey(to mailflow.Address) string { return mailflow.FactKey("refusal", to.Key()) }

// mayTell returns whom a refusal is sent to, or why nobody is told.
func (c *deliberation) mayTell(ctx context.Context, view mailflow.View) (to mailflow.Address, why string, err error) {
	h := c.msg.Header
	if to = c.env.From; to.IsNull() && !h.Has("Return-Path") {
		to = h.From() // the mailbox does not tell
	}
	if ok, why := auto.MayAnswer(h, to); !ok {
		return to, why, nil
	}
	if c.generation.config.Domains.Ours(to) {
		return to, "it is an address of ours", nil
	}
	told, err := view.Count(ctx, refusalKey(to), c.now.Add(-refusalWindow), 1)
	if err != nil {
		return to, "", fmt.Errorf("counting refusals: %w", err)
	}
	if told > 0 {
		return to, "a refusal was sent to it within the hour", nil
	}
	for _, tx := range c.runs {
		if domainauth.Proven(tx.Auth, to) {
			return to, "", nil
		}
	}
	known, err := view.Contacts(ctx, to)
	switch {
	case err != nil:
		return to, "", fmt.Errorf("looking for the sender: %w", err)
	case len(known) == 0:
		return to, "the sender is neither proven nor known", nil
	}
	return to, "", nil
}

// refusal returns the mail that tells to what is refused.
func (c *deliberation) refusal(to mailflow.Address, refused []mailflow.Recipient, help string) *refusal.Refusal {
	g, name := c.generation, c.runs[0].Domain
	id := xid.NewWithTime(c.now).String()
	r := &refusal.Refusal{
		MessageID: g.mintID(id), Tag: "<" + id + refusal.LoopTag + "@" + g.config.Hostname + ">",
		Hostname: g.config.Hostname, At: c.now, From: g.config.Domains.Daemon(name), To: to, Help: help,
		Header: c.msg.Header, Answers: reply.MessageID(c.msg.Header), References: reply.References(c.msg.Header),
	}
	if r.From.IsNull() {
		r.From = mailflow.Address{Local: "mailer-daemon", Domain: g.config.Hostname}
	}
	if d := g.config.Domains.Find(name); d != nil {
		r.ReplyTo = d.CompanyAddress
	}
	for _, rcpt := range refused {
		r.Recipients = append(r.Recipients, rcpt.Address)
	}
	return r
}

// decideAndTell decides and makes the mail that tells of what is refused.
func (c *deliberation) decideAndTell(ctx context.Context, view mailflow.View) (*judgement, error) {
	j, err := c.decide(ctx, view)
	if err != nil || j.refusal == nil {
		return j, err
	}
	content, err := refusal.Build(*j.refusal)
	if err != nil {
		return nil, err
	}
	made, err := c.generation.makeMail(ctx, ownMail{
		id: xid.NewWithTime(c.now).String(), content: content, to: j.refusal.To,
		domain: c.runs[0].Domain, at: c.now,
	}, view)
	if err != nil {
		return nil, fmt.Errorf("making a refusal: %w", err)
	}
	j.decision.Made = append(j.decision.Made, *made)
	return j, nil
}

// discard frees what the judgement holds besides the message itself.
func (j *judgement) discard() {
	if j.decision == nil {
		return
	}
	for i := range j.decision.Made {
		j.decision.Made[i].Spool.Discard()
	}
	j.decision.Made = nil
}

// took goes on with messages that were committed because of another.
func (g *Generation) took(made []mailflow.Decision) {
	for i := range made {
		made[i].Spool.Discard()
		g.reportMade(&made[i])
		g.store.runner.expect(made[i].Deliveries)
	}
}
