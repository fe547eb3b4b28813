// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/xid"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// conclude makes of an attempt's results, or of the error that stands for all
// of them, what becomes of the delivery: its recipients part where their
// results differ.
func (g *Generation) conclude(it *item, results []mailflow.Result, err error, now time.Time) *mailflow.Outcome {
	d := it.delivery
	if err != nil {
		results = failedAlike(d, err)
	}
	o := &mailflow.Outcome{}
	index := make(map[string]int)
	var parts []*mailflow.Delivery
	for _, res := range results {
		key := string(res.State) + res.MessageID
		if res.Reply != nil {
			key += res.Reply.String()
		}
		i, ok := index[key]
		if !ok {
			i = len(parts)
			index[key] = i
			parts = append(parts, g.part(d, res, err, now))
		}
		parts[i].Envelope.Recipients = append(parts[i].Envelope.Recipients, res.Recipient)
	}
	if len(it.rest) > 0 {
		parts = append(parts, it.remainder(now))
	}
	adopt(o, parts, d.ID, now)
	g.addReports(o, it, results, now)
	return o
}

// adopt puts the parts of the delivery of that ID into o. The first that is
// still open keeps the ID, so that it is followed to its end; else the first.
func adopt(o *mailflow.Outcome, parts []*mailflow.Delivery, id string, now time.Time) {
	heir := 0
	for i, p := range parts {
		if !p.State.Final() {
			heir = i
			break
		}
	}
	for i, p := range parts {
		if i == heir {
			p.ID = id
			o.Deliveries = append(o.Deliveries, *p)
			continue
		}
		p.ID = xid.NewWithTime(now).String()
		o.Parted = append(o.Parted, *p)
	}
}

// failedAlike returns the results that err means for all recipients of d.
func failedAlike(d *mailflow.Delivery, err error) []mailflow.Result {
	r := mailflow.AsReply(err)
	if !isReply(err) {
		// Not an answer of the next hop, but the operator wants to know.
		r = &mailflow.Reply{Code: 451, Enhanced: mailflow.EnhancedCode{4, 4, 0}, Text: clip(err.Error(), mailflow.MaxStoredText)}
	}
	results := make([]mailflow.Result, len(d.Envelope.Recipients))
	for i, rcpt := range d.Envelope.Recipients {
		results[i] = mailflow.ResultOf(rcpt, r)
		if errors.Is(err, mailflow.ErrUnreachable) {
			results[i].State = mailflow.StateDeferred // the server's trouble, not the mail's
		}
	}
	return results
}

func isReply(err error) bool {
	var r *mailflow.Reply
	return errors.As(err, &r)
}

// part returns d, without recipients, in the state that res means.
func (g *Generation) part(d *mailflow.Delivery, res mailflow.Result, err error, now time.Time) *mailflow.Delivery {
	p := d.Clone()
	p.Envelope.Recipients = nil
	p.State, p.Reply, p.Reason, p.RelayedID = res.State, res.Reply, "", res.MessageID
	p.Attempts++
	if res.State != mailflow.StateDeferred {
		return p
	}
	if !now.Before(d.Expires) {
		p.State = mailflow.StateExpired
		p.Reason = fmt.Sprintf("given up after %s and %d attempts", now.Sub(d.Created).Round(time.Second), p.Attempts)
		return p
	}
	p.Due = now
	if errors.Is(err, mailflow.ErrUnreachable) {
		p.Reason = "the destination cannot be reached"
		return p // the lane says when
	}
	p.Due = now.Add(g.config.Queue.pause(p.Attempts, d.ID))
	if p.Due.After(d.Expires) {
		p.Due = d.Expires
	}
	return p
}

// pause returns the pause after that many attempts. It varies by up to a tenth
// with the delivery, so that mail that failed together does not come back
// together.
func (q QueuePolicy) pause(attempts int, id string) time.Duration {
	if len(q.Retry) == 0 {
		return DefaultRetry[min(attempts, len(DefaultRetry))-1]
	}
	d := q.Retry[min(attempts, len(q.Retry))-1]
	var h uint32 = 2166136261 // FNV-1a
	for _, c := range []byte(id) {
		h = (h ^ uint32(c)) * 16777619
	}
	return d + d/10*time.Duration(h%1024)/1024
}
