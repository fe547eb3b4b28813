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
	results, err := r.send(g, server, it)
	if err != nil && r.ctx.Err() != nil {
		r.giveBack(it) // cut off here, no fault of the next hop
		return
	}
	var p *panicked
	switch {
	case errors.As(err, &p):
		g.config.Logger.Error("transport panicked, holding the delivery", zap.String("delivery", it.delivery.ID),
			zap.String("server", server.Name), zap.Any("panic", p.value), zap.ByteString("stack", p.stack))
		held := it.delivery.Clone()
		held.State, held.Reason = mailflow.StateHeld, p.Error()
		r.finish.add(g, &mailflow.Outcome{Deliveries: []mailflow.Delivery{*held}}, 0)
		return
	case errors.Is(err, mailflow.ErrUnreachable):
		r.fell(l, err)
	default:
		r.rose(l)
	}
	now := r.engine.now()
	o := g.conclude(it, results, err, now)
	r.finish.add(g, o, now.Sub(began))
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
	held := it.delivery.Clone()
	held.State, held.Reason = mailflow.StateHeld, "the message is not in the store"
	r.finish.add(g, &mailflow.Outcome{Deliveries: []mailflow.Delivery{*held}}, 0)
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
	content, err := mimewrite.New(mimewrite.Params{
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
	results, err := s.Transport.Deliver(ctx, &mailflow.Attempt{Delivery: it.delivery, Content: content})
	if err == nil && len(results) != len(it.delivery.Envelope.Recipients) {
		return nil, fmt.Errorf("transport of %s gave %d results for %d recipients",
			s.Name, len(results), len(it.delivery.Envelope.Recipients))
	}
	return results, err
}
