// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// micro returns t as it is kept in JSON.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// micros returns t as it is kept in a column; 0 is no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the inverse of micros.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// encodeMessage returns the JSON of a row of the ledger.
func encodeMessage(m *mailflow.StoredMessage) ([]byte, error) {
	kept := *m
	kept.Received, kept.Peer.At = micro(m.Received), micro(m.Peer.At)
	data, err := json.Marshal(&kept)
	if err != nil {
		return nil, fmt.Errorf("encoding message %s: %w", m.ID, err)
	}
	return data, nil
}

// encodeDelivery returns the JSON of a row of the queue.
func encodeDelivery(d *mailflow.Delivery) ([]byte, error) {
	kept := *d
	kept.Created, kept.Due, kept.Expires = micro(d.Created), micro(d.Due), micro(d.Expires)
	data, err := json.Marshal(&kept)
	if err != nil {
		return nil, fmt.Errorf("encoding delivery %s: %w", d.ID, err)
	}
	return data, nil
}

// encodeUnrouted returns the JSON of an entry of the unrouted box.
func encodeUnrouted(u *mailflow.Unrouted) ([]byte, error) {
	kept := *u
	kept.At, kept.Dropped, kept.Routed = micro(u.At), micro(u.Dropped), micro(u.Routed)
	data, err := json.Marshal(&kept)
	if err != nil {
		return nil, fmt.Errorf("encoding unrouted message %s: %w", u.Message, err)
	}
	return data, nil
}

// decode reads a row's JSON.
func decode[T any](data []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("reading a row of the store: %w", err)
	}
	return v, nil
}

// checkDecision reports what is wrong with d itself.
func checkDecision(d *mailflow.Decision) error {
	id := d.Message.ID
	if id == "" {
		return errors.New("decision about a message without ID")
	}
	if d.Unrouted != nil && d.Unrouted.Message != id {
		return fmt.Errorf("decision about message %s has an unrouted entry of %q", id, d.Unrouted.Message)
	}
	for i := range d.Deliveries {
		if err := checkDelivery(&d.Deliveries[i]); err != nil {
			return err
		}
		if of := d.Deliveries[i].Message; of != id {
			return fmt.Errorf("decision about message %s has a delivery of %q", id, of)
		}
	}
	return nil
}

// checkDelivery reports what is wrong with a row of the queue.
func checkDelivery(d *mailflow.Delivery) error {
	if d.ID == "" {
		return fmt.Errorf("delivery of message %s without ID", d.Message)
	}
	if !waits(d.State) && d.State != mailflow.StateHeld && !d.State.Final() {
		return fmt.Errorf("delivery %s: state %q is never stored", d.ID, d.State)
	}
	return nil
}
