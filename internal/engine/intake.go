// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/rs/xid"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// intake is one transaction while it is received.
type intake struct {
	generation *Generation
	peer       *mailflow.Peer
	env        *mailflow.Envelope
	inbound    []mailflow.Recipient
	outbound   []mailflow.Recipient
	ended      bool
}

// Rcpt implements [mailflow.Intake].
func (in *intake) Rcpt(ctx context.Context, rcpt mailflow.Recipient) error {
	if slices.ContainsFunc(in.env.Recipients, func(r mailflow.Recipient) bool { return r.Address.Is(rcpt.Address) }) {
		return nil
	}
	route, err := in.generation.routeOf(ctx, in.generation.store, in.peer, rcpt.Address)
	if err != nil {
		return mailflow.AsReply(err)
	}
	if err := in.generation.admit(ctx, in.generation.store, route, in.peer, in.env, rcpt); err != nil {
		return mailflow.AsReply(err)
	}
	in.env.Recipients = append(in.env.Recipients, rcpt)
	if route == mailflow.Inbound {
		in.inbound = append(in.inbound, rcpt)
	} else {
		in.outbound = append(in.outbound, rcpt)
	}
	return nil
}

// Abort implements [mailflow.Intake].
func (in *intake) Abort() {
	if !in.ended {
		in.ended = true
		in.generation.engine.unpin(in.generation)
	}
}

// Commit implements [mailflow.Intake].
func (in *intake) Commit(ctx context.Context, content io.Reader) ([]*mailflow.Reply, error) {
	defer in.Abort()
	g := in.generation
	began := g.engine.now()
	spool, err := g.store.Spool(ctx)
	if err != nil {
		return nil, in.refused(began, storeReply(err))
	}
	kept := false
	defer func() {
		if !kept {
			spool.Discard()
		}
	}()
	msg, err := receive(spool, content)
	if err != nil {
		return nil, in.refused(began, storeReply(err))
	}
	defer func() {
		if !kept {
			_ = msg.Body.Close() // only read
		}
	}()
	msg.ID = xid.NewWithTime(began).String()
	c := &deliberation{
		generation: g, peer: in.peer, env: in.env, msg: msg, spool: spool,
		inbound: in.inbound, outbound: in.outbound, now: began,
	}
	if in.peer.Fetched {
		if err := c.address(ctx, g.store); err != nil {
			return nil, in.refused(began, storeReply(err))
		}
	}
	j, err := c.commit(ctx)
	if err != nil {
		return nil, in.refused(began, storeReply(err))
	}
	kept = j.decision != nil
	if kept {
		g.store.runner.take(j.decision, msg) //nolint:contextcheck // the queue outlives the session
		spool.Discard()
		g.posted(&j.decision.Postings)
		g.took(j.decision.Made) //nolint:contextcheck // the queue outlives the session
	}
	g.reportReceived(c, j, g.engine.now().Sub(began))
	return j.replies, nil
}

// refused logs a transaction that failed as a whole, and returns its reply.
func (in *intake) refused(began time.Time, err error) error {
	r := mailflow.AsReply(err)
	g := in.generation
	g.report(Event{
		Kind: EventRefused, Listener: in.peer.Listener, From: in.env.From.String(),
		Recipients: addresses(in.env.Recipients), Reply: r.String(), Reason: reason(r.Err),
		Took: g.engine.now().Sub(began),
	})
	return r
}

// storeReply makes a reply of an error of the store.
func storeReply(err error) error {
	if errors.Is(err, mailflow.ErrNoRoom) {
		return mailflow.ReplyNoRoom.Because(err)
	}
	return mailflow.AsReply(err)
}

// reason returns what an error says; nil says nothing.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// addresses returns the addresses of rs as texts.
func addresses(rs []mailflow.Recipient) []string {
	as := make([]string, len(rs))
	for i, r := range rs {
		as[i] = r.Address.String()
	}
	return as
}
