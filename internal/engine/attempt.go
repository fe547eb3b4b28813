// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/mimewrite"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxAttempt bounds one attempt as a whole. The timeouts of RFC 5321 section
// 4.5.3.2 add up to half an hour; a transport has its own for each step.
const maxAttempt = 45 * time.Minute

// attempt tries once to deliver it, and hands what came of it to the finisher.
func (r *runner) attempt(l *lane, it *item) {
	g := r.engine.pin()
	if g == nil || r.ctx.Err() != nil {
		if g != nil {
			r.engine.unpin(g)
		}
		r.giveBack(it)
		return
	}
	defer r.engine.unpin(g)
	began := r.engine.now()
	if err := it.load(r.ctx, r.store); err != nil {
		r.unreadable(g, l, it, err)
		return
	}
	server, ok := g.server(it.delivery.Server)
	if (!ok || g.refuses(server, it)) && (!r.rechoose(g, it) || !ok) {
		return
	}
	n := r.leave(g, l, it)
	if n == 0 {
		r.giveBack(it) // its limit was used up meanwhile
		return
	}
	it.part(n)
	results, err := r.send(g, server, it)
	if err != nil && r.ctx.Err() != nil {
		r.giveBack(it) // cut off here, no fault of the next hop
		return
	}
	if why := unsendable(err); why != "" {
		r.hold(g, it, err, why)
		return
	}
	hits := r.spend(g, it, len(results))
	r.judge(g, l, it, results, err)
	now := r.engine.now()
	if err != nil {
		it.whole()
	}
	if r.mayMove(g, l) && refusesAll(results, err) && !r.rechoose(g, it) {
		r.finish.add(g, &mailflow.Outcome{Hits: hits}, 0)
		return
	}
	o := g.conclude(it, results, err, now)
	o.Hits = hits
	r.finish.add(g, o, now.Sub(began))
}

// mayMove reports whether l is of a server that is down, and another one may
// take its mail.
func (r *runner) mayMove(g *Generation, l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return l.outage != nil && len(g.config.Servers) > 1 && r.isServer(l.outlet)
}

// unsendable returns why a message can never be sent as things are; empty if
// err does not say so.
func unsendable(err error) string {
	if p, ok := errors.AsType[*panicked](err); ok {
		return p.Error()
	}
	if u, ok := errors.AsType[*unsigned](err); ok {
		return u.Error()
	}
	return ""
}

// hold holds a delivery for an operator.
func (r *runner) hold(g *Generation, it *item, err error, why string) {
	if p, ok := errors.AsType[*panicked](err); ok {
		g.config.Logger.Error("transport panicked, holding the delivery", zap.String("delivery", it.delivery.ID),
			zap.String("server", p.server), zap.Any("panic", p.value), zap.ByteString("stack", p.stack))
	}
	it.whole()
	held := it.delivery.Clone()
	held.State, held.Reason = mailflow.StateHeld, why
	r.finish.add(g, &mailflow.Outcome{Deliveries: []mailflow.Delivery{*held}}, 0)
}

// giveBack returns a claimed delivery as it was.
func (r *runner) giveBack(it *item) {
	_ = r.store.Unclaim(context.WithoutCancel(r.ctx), it.delivery.ID) // claims end with the process
}

// unreadable sees to a delivery whose message cannot be read: one that is gone
// is held for an operator, any other is tried again.
func (r *runner) unreadable(g *Generation, l *lane, it *item, err error) {
	if !errors.Is(err, mailflow.ErrNoRecord) {
		if r.ctx.Err() == nil {
			g.config.Logger.Warn("reading a queued message", zap.String("delivery", it.delivery.ID), zap.Error(err))
		}
		r.giveBack(it)
		r.mu.Lock()
		l.cold = false
		l.expect(r.engine.now().Add(minProbePause))
		r.mu.Unlock()
		return
	}
	r.hold(g, it, nil, "the message is not in the store")
}

// panicked is the error of a transport that panicked.
type panicked struct {
	server string
	value  any
	stack  []byte
}

// Error implements error.
func (p *panicked) Error() string {
	return fmt.Sprintf("transport of %s panicked: %v", p.server, p.value)
}

// send makes the content and has the server's transport deliver it.
func (r *runner) send(g *Generation, s *Server, it *item) (_ []mailflow.Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{server: s.Name, value: v, stack: debug.Stack()}
		}
	}()
	made, err := mimewrite.New(mimewrite.Params{
		Message: it.msg,
		Received: mimewrite.Received(mimewrite.Stamp{
			Peer: &it.row.Peer, Hostname: g.config.Hostname, ID: it.row.ID,
			Recipients: it.delivery.Envelope.Recipients, At: it.row.Received,
		}),
		Changes: it.delivery.Header,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, maxAttempt)
	defer cancel()
	content, err := r.sign(ctx, g, it.delivery, made)
	if err != nil {
		return nil, err
	}
	results, err := s.Transport.Deliver(ctx, &mailflow.Attempt{Delivery: it.delivery, Content: content})
	if signed, ok := content.(*signedContent); ok && err != nil {
		err = signed.explain(err)
	}
	if err == nil && len(results) != len(it.delivery.Envelope.Recipients) {
		return nil, fmt.Errorf("transport of %s gave %d results for %d recipients",
			s.Name, len(results), len(it.delivery.Envelope.Recipients))
	}
	return results, err
}
