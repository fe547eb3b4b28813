// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/xid"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/dsn"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// addReports adds to o the reports that results ask for: of failure, and of
// success where the next hop makes none (RFC 3461 section 5.2). A message with
// the null sender is never reported on (RFC 5321 section 6.1), so a report that
// cannot be delivered ends there.
func (g *Generation) addReports(o *mailflow.Outcome, it *item, results []mailflow.Result, now time.Time) {
	if it.row.Envelope.From.IsNull() {
		return
	}
	var about []dsn.Recipient
	for _, res := range results {
		if a, ok := reportable(res, it.delivery, now); ok {
			about = append(about, dsn.Recipient{
				Recipient: res.Recipient, Action: a, Reply: res.Reply, LastAttempt: now,
			})
		}
	}
	if len(about) == 0 {
		return
	}
	d, err := g.makeReport(it, about, now)
	if err != nil {
		g.config.Logger.Error("making a delivery report", zap.String("id", it.row.ID), zap.Error(err))
		return
	}
	o.Reports = append(o.Reports, *d)
}

// reportable returns what a report says of res, and whether the sender wants
// one.
func reportable(res mailflow.Result, d *mailflow.Delivery, now time.Time) (dsn.Action, bool) {
	expired := res.State == mailflow.StateDeferred && !now.Before(d.Expires)
	switch {
	case res.State == mailflow.StateFailed, expired:
		return dsn.Failed, res.Recipient.Wants(mailflow.NotifyFailure)
	case res.State == mailflow.StateSent && res.Relayed:
		return dsn.Relayed, res.Recipient.Wants(mailflow.NotifySuccess)
	}
	return "", false
}

// makeReport returns the decision about a report on it to its sender.
func (g *Generation) makeReport(it *item, about []dsn.Recipient, now time.Time) (*mailflow.Decision, error) {
	id := xid.NewWithTime(now).String()
	to := it.row.Envelope.From
	report := dsn.Report{
		MessageID: g.mintID(id), Hostname: g.config.Hostname, At: now,
		From: g.config.Domains.Daemon(it.delivery.Domain),
		To:   to, Message: it.msg, Arrival: it.row.Received,
		EnvelopeID: it.row.Envelope.EnvelopeID, Return: it.row.Envelope.Return,
		Recipients: about,
	}
	ctx := context.WithoutCancel(g.store.runner.ctx)
	return g.makeMail(ctx, ownMail{
		id: id, content: dsn.Build(report), to: to, utf8: report.UTF8(), domain: it.delivery.Domain, at: now,
	}, g.store)
}

// protocolLocal is the protocol of mail that is made here.
const protocolLocal = "local"

// ownMail is a mail that the gateway makes itself. It has the null sender.
type ownMail struct {
	id      string
	content []byte
	to      mailflow.Address
	utf8    bool   // its header has UTF-8
	domain  string // of ours, that it belongs to
	at      time.Time
}

// makeMail returns the decision about m. Its spool is the caller's to discard.
func (g *Generation) makeMail(ctx context.Context, m ownMail, view mailflow.View) (*mailflow.Decision, error) {
	spool, err := g.store.Spool(ctx)
	if err != nil {
		return nil, fmt.Errorf("spooling: %w", err)
	}
	msg, err := receive(spool, bytes.NewReader(m.content))
	if err != nil {
		spool.Discard()
		return nil, fmt.Errorf("spooling: %w", err)
	}
	defer func() { _ = msg.Body.Close() }() // only read
	msg.ID = m.id
	// NEVER: nobody is told about a report on a report.
	rcpt := mailflow.Recipient{Address: m.to, Notify: []mailflow.Notify{mailflow.NotifyNever}}
	c := &deliberation{
		generation: g, msg: msg, spool: spool, now: m.at,
		peer: &mailflow.Peer{Protocol: protocolLocal, Submits: true, At: m.at, Domain: m.domain},
		env: &mailflow.Envelope{
			Recipients: []mailflow.Recipient{rcpt}, SMTPUTF8: m.utf8, Body: bodyType(msg),
		},
	}
	d, err := c.decideReport(ctx, view)
	if err != nil {
		spool.Discard()
		return nil, err
	}
	return d, nil
}

// errReportRefused ends a report that the routes refuse to send.
var errReportRefused = errors.New("the routes refuse the report")

// decideReport decides about a message with one recipient that the gateway
// made itself. One that cannot be decided now is held: it is committed with
// what it reports on, and that does not wait.
func (c *deliberation) decideReport(ctx context.Context, view mailflow.View) (*mailflow.Decision, error) {
	rcpt := c.env.Recipients[0]
	route, err := c.generation.routeOf(ctx, view, c.peer, rcpt.Address)
	if err != nil {
		return nil, err
	}
	if route == mailflow.Inbound {
		c.inbound = c.env.Recipients
	} else {
		c.outbound = c.env.Recipients
	}
	j, err := c.decide(ctx, view)
	switch {
	case err == nil && j.decision == nil:
		return nil, fmt.Errorf("%w: %w", errReportRefused, j.replies[0])
	case err == nil:
		return j.decision, nil
	}
	d := &mailflow.Decision{Message: c.row(), Spool: c.spool}
	held := c.delivery(c.transaction(route, c.env.Recipients, view),
		mailflow.Deliver{Hold: "deciding about the report: " + err.Error()})
	held.Envelope.Recipients = c.env.Recipients
	d.Deliveries = append(d.Deliveries, held)
	return d, nil
}

// bodyType returns the BODY parameter that fits msg.
func bodyType(msg *mailflow.Message) mailflow.BodyType {
	if msg.EightBit {
		return mailflow.Body8BitMIME
	}
	return mailflow.Body7Bit
}
