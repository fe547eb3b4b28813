// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// maxRecipients is the most recipients of one transaction. Every server
	// has to take so many (RFC 5321 section 4.5.3.1.8), and common ones take
	// no more.
	maxRecipients = 100
	// maxPipelined is the most commands that wait for their replies at once.
	// Their replies, even long ones, fit into the buffers of a socket, so that
	// both sides never wait for each other to read (RFC 2920 section 3.1).
	maxPipelined = 50
)

// Deliver makes one attempt, as [mailflow.Transport] says. After an error or
// a result the connection may be used again, unless [Conn.Usable] says no.
func (c *Conn) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	if r := c.check(a); r != nil {
		return nil, r
	}
	release := c.bind(ctx)
	defer release()
	rcpts := a.Delivery.Envelope.Recipients
	t := &transaction{c: c, a: a, results: make([]mailflow.Result, len(rcpts))}
	var todo []int
	for i, r := range rcpts {
		if refusal := c.checkRecipient(r); refusal != nil {
			t.settle(i, refusal)
		} else {
			todo = append(todo, i)
		}
	}
	most := maxRecipients
	if c.ext.MaxRecipients > 0 {
		most = min(most, c.ext.MaxRecipients)
	}
	for part := range slices.Chunk(todo, most) {
		if err := t.run(ctx, part); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = fmt.Errorf("%w (%w)", err, cause)
			}
			return t.end(err)
		}
	}
	return t.results, nil
}

// Usable reports whether the connection can take another transaction.
func (c *Conn) Usable() bool { return !c.dead }

// A transaction is one attempt on one connection.
type transaction struct {
	c       *Conn
	a       *mailflow.Attempt
	results []mailflow.Result
	open    []int // accepted recipients that wait for the content

	answered bool            // MAIL has its reply
	refused  *mailflow.Reply // that reply, if it is no 2xx
}

// settle notes the reply r for recipient i.
func (t *transaction) settle(i int, r *mailflow.Reply) {
	rcpt := t.a.Delivery.Envelope.Recipients[i]
	res := mailflow.ResultOf(rcpt, r)
	res.Relayed = res.State == mailflow.StateSent && !t.c.ext.DSN && slices.Contains(rcpt.Notify, mailflow.NotifySuccess)
	t.results[i] = res
}

// end returns err, or where some recipients have their reply already, the
// results with err for the others.
func (t *transaction) end(err error) ([]mailflow.Result, error) {
	if !slices.ContainsFunc(t.results, settled) {
		return nil, err
	}
	var r *mailflow.Reply
	if !errors.As(err, &r) {
		r = errLost.Because(err)
	}
	for i, res := range t.results {
		if !settled(res) {
			t.settle(i, r)
		}
	}
	return t.results, nil
}

func settled(r mailflow.Result) bool { return r.Reply != nil }

// errLost stands for the reply that did not come.
var errLost = &mailflow.Reply{
	Code: 451, Enhanced: mailflow.EnhancedCode{4, 4, 2}, Text: "Connection to the next server broke",
}

// run sends the message to part of the recipients.
func (t *transaction) run(ctx context.Context, part []int) error {
	c := t.c
	if c.dead {
		return t.lost("sending to further recipients", net.ErrClosed)
	}
	if c.dirty {
		if err := c.reset(); err != nil {
			return t.stale(err)
		}
	}
	t.open, t.answered, t.refused = t.open[:0], false, nil
	c.dirty = true
	data, err := t.envelope(part)
	c.sent++
	if err != nil {
		return err
	}
	if data == nil { // no recipient, and DATA was not asked for
		return nil
	}
	if data.code != 354 {
		return t.noData(*data)
	}
	if len(t.open) == 0 {
		return t.noRecipient()
	}
	if err := t.content(ctx); err != nil {
		return err
	}
	c.dirty = false
	return nil
}

// envelope sends MAIL, RCPT and DATA and reads their replies. It returns the
// reply to DATA; nil if DATA was not worth asking for. Its error is the reply
// to MAIL if that was no 2xx.
func (t *transaction) envelope(part []int) (*reply, error) {
	t.c.put(t.mailCommand(part))
	if t.c.ext.Pipelining {
		return t.pipelined(part)
	}
	return t.stepwise(part)
}

// pipelined sends RCPT and DATA behind MAIL without waiting for replies.
func (t *transaction) pipelined(part []int) (*reply, error) {
	c := t.c
	for rest := part; len(rest) > 0; {
		batch := rest[:min(len(rest), maxPipelined)]
		rest = rest[len(batch):]
		for _, i := range batch {
			c.put(c.rcptCommand(t.recipient(i)))
		}
		if len(rest) == 0 {
			c.put("DATA")
		}
		if err := t.exchange(batch); err != nil {
			return nil, err
		}
		if t.refused != nil && len(rest) > 0 {
			return nil, t.refused
		}
	}
	data, err := c.read(c.cfg.Timeouts.Data)
	switch {
	case t.refused != nil:
		if data.code == 354 {
			c.dead = true // it waits for content that has no sender
		}
		return nil, t.refused
	case err != nil:
		return nil, t.lost("waiting for the reply to DATA", err)
	}
	return &data, nil
}

// stepwise waits for each reply before the next command.
func (t *transaction) stepwise(part []int) (*reply, error) {
	if err := t.exchange(nil); err != nil {
		return nil, err
	}
	if t.refused != nil {
		return nil, t.refused
	}
	for _, i := range part {
		t.c.put(t.c.rcptCommand(t.recipient(i)))
		if err := t.exchange([]int{i}); err != nil {
			return nil, err
		}
	}
	if len(t.open) == 0 {
		return nil, nil
	}
	data, err := t.c.command(t.c.cfg.Timeouts.Data, "DATA")
	if err != nil {
		return nil, t.lost("waiting for the reply to DATA", err)
	}
	return &data, nil
}

// exchange sends what is put, and reads the reply to MAIL, if that is still to
// come, and those to RCPT for batch.
func (t *transaction) exchange(batch []int) error {
	if err := t.c.flush(); err != nil {
		if !t.answered {
			err = t.stale(err)
		}
		return t.lost("sending the envelope", err)
	}
	if !t.answered {
		if err := t.mail(); err != nil {
			return err
		}
	}
	for _, i := range batch {
		if err := t.rcpt(i); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) recipient(i int) mailflow.Recipient { return t.a.Delivery.Envelope.Recipients[i] }

// mail reads the reply to MAIL.
func (t *transaction) mail() error {
	rep, err := t.c.read(t.c.cfg.Timeouts.Command)
	switch {
	case err != nil:
		return t.lost("waiting for the reply to MAIL", t.stale(err))
	case rep.code == 421:
		return t.stale(rep.public())
	case rep.code/100 == 3:
		t.c.dead = true
		return fmt.Errorf("waiting for the reply to MAIL: %w: %s", errGarbage, rep.public().String())
	case rep.code/100 != 2:
		t.refused = rep.public()
	}
	t.answered = true
	return nil
}

// stale marks err as one that a fresh connection may not have: the server had
// closed this one, which served others before, and took nothing of the mail.
func (t *transaction) stale(err error) error {
	var timeout net.Error
	if t.c.sent == 0 || errors.Is(err, errGarbage) || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return fmt.Errorf("%w: %w", errStale, err)
}

// rcpt reads the reply to RCPT for recipient i. Where MAIL was refused it says
// nothing more.
func (t *transaction) rcpt(i int) error {
	rep, err := t.c.read(t.c.cfg.Timeouts.Command)
	if t.refused != nil {
		if err != nil {
			return t.refused
		}
		return nil
	}
	switch {
	case err != nil:
		return t.lost("waiting for the reply to RCPT", err)
	case rep.code/100 == 2:
		t.open = append(t.open, i)
	case rep.code/100 == 3:
		t.c.dead = true
		return fmt.Errorf("waiting for the reply to RCPT: %w: %s", errGarbage, rep.public().String())
	default:
		t.settle(i, rep.public())
	}
	return nil
}

// lost returns the error on a connection that broke; the reason that the
// server gave in a 421 before comes first.
func (t *transaction) lost(doing string, err error) error {
	t.c.dead = true
	if bye := t.c.goodbye; bye != nil {
		return bye.Because(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// noData settles the accepted recipients after a reply to DATA that is not
// 354.
func (t *transaction) noData(data reply) error {
	if data.code < 400 {
		t.c.dead = true
		return fmt.Errorf("waiting for the reply to DATA: %w: %s", errGarbage, data.public().String())
	}
	for _, i := range t.open {
		t.settle(i, data.public())
	}
	return nil
}

// noRecipient ends a transaction whose DATA was answered by 354 though no
// recipient was accepted: with no content, and judged by the replies to RCPT
// (RFC 2920 section 3.1).
func (t *transaction) noRecipient() error {
	c := t.c
	if c.cfg.Protocol == LMTP { // no recipient, no reply to wait for
		c.dead = true
		return nil
	}
	if _, err := c.command(c.cfg.Timeouts.Final, "."); err == nil {
		c.dirty = false
	}
	return nil
}
