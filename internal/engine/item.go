// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// item is a delivery that the runner has claimed, with its message once it is
// needed.
type item struct {
	delivery *mailflow.Delivery
	row      *mailflow.StoredMessage
	msg      *mailflow.Message
	hot      bool // counted in the runner's memory
	// rest are recipients that a limit leaves no room for, grant is the leave
	// for those that there is.
	rest  []mailflow.Recipient
	grant *grant
}

// part leaves the first n recipients in the delivery, and the others for
// later.
func (it *item) part(n int) {
	all := it.delivery.Envelope.Recipients
	if n >= len(all) {
		return
	}
	it.delivery = it.delivery.Clone()
	it.delivery.Envelope.Recipients, it.rest = all[:n:n], all[n:]
}

// whole takes back what part did.
func (it *item) whole() {
	if len(it.rest) > 0 {
		it.delivery.Envelope.Recipients = append(it.delivery.Envelope.Recipients, it.rest...)
		it.rest = nil
	}
}

// remainder returns the delivery to the recipients that are left for later: it
// waits as it did before the attempt.
func (it *item) remainder(now time.Time) *mailflow.Delivery {
	d := it.delivery.Clone()
	d.Envelope.Recipients = it.rest
	d.Due = now
	return d
}

// load reads what the item does not have yet.
func (it *item) load(ctx context.Context, ledger mailflow.Ledger) error {
	if it.row == nil {
		row, err := ledger.Message(ctx, it.delivery.Message)
		if err != nil {
			return fmt.Errorf("reading the message's row: %w", err)
		}
		it.row = row
	}
	if it.msg != nil {
		return nil
	}
	body, err := ledger.Body(ctx, it.row.ID)
	if err != nil {
		return fmt.Errorf("opening the message: %w", err)
	}
	it.msg = &mailflow.Message{
		ID: it.row.ID, Body: body, EightBit: it.row.EightBit, UTF8Header: it.row.UTF8Header,
	}
	it.msg.Header, err = readHeader(body)
	return err
}

// close lets go of the message.
func (it *item) close() {
	if it.msg == nil {
		return
	}
	if b, ok := it.msg.Body.(*shared); ok {
		b.release()
	} else {
		_ = it.msg.Body.Close() // only read
	}
	it.msg = nil
}

// shared is a body that several items read: the last one closes it.
type shared struct {
	mailflow.Body

	holders atomic.Int32
}

// share returns b with one holder.
func share(b mailflow.Body) *shared {
	s := &shared{Body: b}
	s.holders.Store(1)
	return s
}

func (s *shared) hold() { s.holders.Add(1) }

func (s *shared) release() {
	if s.holders.Add(-1) == 0 {
		_ = s.Close() // only read
	}
}
