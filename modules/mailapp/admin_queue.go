// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// orders are what an operator can do with a delivery.
var orders = []mailflow.ActKind{mailflow.ActRetry, mailflow.ActHold, mailflow.ActRelease, mailflow.ActDrop}

// queueEntry is a delivery as the admin API and the commands show it.
type queueEntry struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	// State is "sending" while an attempt is under way.
	State mailflow.State `json:"state"`
	// From is the author in the header, as text; without one the sender of the
	// envelope. To are the recipients of the envelope.
	From    string   `json:"from"`
	To      []string `json:"to"`
	Subject string   `json:"subject"`
	Server  string   `json:"server"`
	Purpose string   `json:"purpose"`
	// Due is when the next attempt is, or when a limit or an outage lets it be
	// tried; it says nothing in a final state.
	Due      time.Time `json:"due"`
	Attempts int       `json:"attempts"`
	// Reply is the next hop's last answer, Reason why it is in its state.
	Reply  string `json:"reply"`
	Reason string `json:"reason"`
	Bytes  int64  `json:"bytes"`

	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires"`
	Destination  string    `json:"destination"`
	EnvelopeFrom string    `json:"envelope_from"`
}

// queueDetails is what is shown of one delivery beyond its [queueEntry].
type queueDetails struct {
	queueEntry

	Domain string                  `json:"domain"`
	Route  mailflow.RouteName      `json:"route"`
	Header []mailflow.HeaderChange `json:"header,omitempty"`
	// What the ledger knows of the message.
	MessageID string            `json:"message_id"`
	Received  time.Time         `json:"received"`
	Peer      mailflow.Peer     `json:"peer"`
	Tags      map[string]string `json:"tags,omitempty"`
	Trace     string            `json:"trace"`
}

// entryOf returns q as it is shown.
func entryOf(q *mailflow.Queued) queueEntry {
	e := queueEntry{
		ID: q.ID, Message: q.Message, State: q.State,
		From: q.From, To: addressTexts(q.Envelope.Recipients), Subject: q.Subject,
		Server: q.Server, Purpose: q.Purpose, Due: q.Due, Attempts: q.Attempts,
		Reason: q.Reason, Bytes: q.Bytes,
		Created: q.Created, Expires: q.Expires, Destination: q.Destination,
		EnvelopeFrom: q.Envelope.From.String(),
	}
	if q.Claimed {
		e.State = mailflow.StateSending
	}
	if e.From == "" {
		e.From = e.EnvelopeFrom
	}
	if q.Reply != nil {
		e.Reply = q.Reply.String()
	}
	return e
}

// waiter tells why deliveries wait.
type waiter interface {
	Waiting(d *mailflow.Delivery) (reason string, until time.Time)
}

// liveEntry returns q as it is shown, with what it waits for at the moment.
func liveEntry(op operator, q *mailflow.Queued) queueEntry {
	e := entryOf(q)
	w, ok := op.(waiter)
	if !ok || q.Claimed {
		return e
	}
	reason, until := w.Waiting(&q.Delivery)
	if reason != "" {
		e.Reason = reason
	}
	if until.After(e.Due) {
		e.Due = until
	}
	return e
}

// addressTexts returns the addresses of rs; never nil, so that its JSON is a
// list.
func addressTexts(rs []mailflow.Recipient) []string {
	as := make([]string, len(rs))
	for i, r := range rs {
		as[i] = r.Address.String()
	}
	return as
}

// listQueue answers GET /mail/queue.
func (a *Admin) listQueue(w http.ResponseWriter, r *http.Request) error {
	limit, err := listLimit(r)
	if err != nil {
		return err
	}
	args := r.URL.Query()
	q := mailflow.QueueQuery{
		Server: args.Get("server"), Message: args.Get("message"), Before: args.Get("before"), Limit: limit,
	}
	shown, err := statesOf(args["state"])
	if err != nil {
		return err
	}
	op, store, err := a.store()
	if err != nil {
		return err
	}
	entries, err := deliveries(r.Context(), op, store, q, shown)
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, entries)
}

// statesOf reads the states that a list is narrowed to, with commas or one by
// one.
func statesOf(texts []string) ([]mailflow.State, error) {
	known := append(slices.Clone(mailflow.States), mailflow.StateSending)
	var states []mailflow.State
	for _, text := range strings.FieldsFunc(strings.Join(texts, ","), func(r rune) bool { return r == ',' }) {
		s := mailflow.State(strings.ToLower(strings.TrimSpace(text)))
		if !slices.Contains(known, s) {
			return nil, apiError(http.StatusBadRequest, "unknown state %q; known are: %s", text, joined(known))
		}
		states = append(states, s)
	}
	return states, nil
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}

// deliveries lists what q asks for in the states that are to be shown; none
// for all. The store does not tell what is being sent from what waits, so a
// list of either is read in pages until it is full.
func deliveries(ctx context.Context, op operator, s mailflow.Store, q mailflow.QueueQuery, shown []mailflow.State) ([]queueEntry, error) {
	if q.Limit == 0 {
		q.Limit = mailflow.DefaultListLimit
	}
	for _, state := range shown {
		if state == mailflow.StateSending {
			q.States = append(q.States, mailflow.StateQueued, mailflow.StateDeferred)
			continue
		}
		q.States = append(q.States, state)
	}
	entries := []queueEntry{}
	for {
		rows, err := s.Deliveries(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("listing the queue: %w", err)
		}
		for i := range rows {
			e := liveEntry(op, &rows[i])
			if len(shown) > 0 && !slices.Contains(shown, e.State) {
				continue
			}
			if entries = append(entries, e); len(entries) == q.Limit {
				return entries, nil
			}
		}
		if len(rows) < q.Limit {
			return entries, nil
		}
		q.Before = rows[len(rows)-1].ID
	}
}

// delivery returns one delivery. Error: [mailflow.ErrNoRecord].
func delivery(ctx context.Context, s mailflow.Store, id string) (*mailflow.Queued, error) {
	rows, err := s.Deliveries(ctx, mailflow.QueueQuery{ID: id, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("looking for delivery %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("delivery %s: %w", id, mailflow.ErrNoRecord)
	}
	return &rows[0], nil
}

// showDelivery answers GET /mail/queue/ID.
func (a *Admin) showDelivery(w http.ResponseWriter, r *http.Request) error {
	op, store, err := a.store()
	if err != nil {
		return err
	}
	q, err := delivery(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	m, err := store.Message(r.Context(), q.Message)
	if err != nil {
		return refusal(fmt.Errorf("message %s: %w", q.Message, err))
	}
	return reply(w, http.StatusOK, queueDetails{
		queueEntry: liveEntry(op, q), Domain: q.Domain, Route: q.Route, Header: q.Header,
		MessageID: m.MessageID, Received: m.Received, Peer: m.Peer, Tags: m.Tags, Trace: m.Trace,
	})
}

// deliveryMessage answers GET /mail/queue/ID/message.
func (a *Admin) deliveryMessage(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	q, err := delivery(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	return sendMessage(w, r, store, q.Message)
}

// act answers POST /mail/queue/ID/ORDER with the delivery as it then is.
func (a *Admin) act(w http.ResponseWriter, r *http.Request, kind mailflow.ActKind) error {
	names := []string{"reason"}
	if kind == mailflow.ActRelease {
		names = append(names, "server")
	}
	args, err := arguments(w, r, names...)
	if err != nil {
		return err
	}
	if len(args["reason"]) > maxReason {
		return apiError(http.StatusBadRequest, "the reason is longer than %d bytes", maxReason)
	}
	if err := a.checkServer(args["server"]); err != nil {
		return err
	}
	op, store, err := a.store()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	order := mailflow.QueueAct{Kind: kind, Reason: args["reason"], Server: args["server"], At: time.Now()}
	acted := op.Act(r.Context(), id, order)
	if acted != nil && !errors.Is(acted, mailflow.ErrState) {
		return refusal(fmt.Errorf("delivery %s: %w", id, acted))
	}
	q, err := delivery(r.Context(), store, id)
	if err != nil {
		return refusal(err)
	}
	if acted != nil {
		return apiError(http.StatusConflict, "cannot %s delivery %s: %s", kind, id, obstacle(q, kind))
	}
	return reply(w, http.StatusOK, liveEntry(op, q))
}

// checkServer refuses the name of a server that is not there: a delivery with
// it would be decided again, and perhaps leave by another one. Empty keeps the
// delivery's own.
func (a *Admin) checkServer(name string) error {
	services := a.services()
	if name == "" || services == nil {
		return nil
	}
	names := make([]string, len(services.Servers))
	for i, s := range services.Servers {
		names[i] = s.Name
	}
	if slices.Contains(names, name) {
		return nil
	}
	if len(names) == 0 {
		return apiError(http.StatusNotFound, "no outgoing server is named %q, nor is there any other", name)
	}
	return apiError(http.StatusNotFound, "no outgoing server is named %q; there are: %s", name, joined(names))
}

// obstacle says why a delivery does not take an order, and what to do.
func obstacle(q *mailflow.Queued, kind mailflow.ActKind) string {
	switch {
	case q.Claimed:
		return "an attempt is under way; wait until it has ended"
	case q.State.Final():
		return fmt.Sprintf("it is %s, and that is final", q.State)
	case q.State == mailflow.StateHeld && kind == mailflow.ActHold:
		return "it is held already"
	case q.State == mailflow.StateHeld:
		return "it is held; release it instead"
	case kind == mailflow.ActRelease:
		return fmt.Sprintf("it is %s, not held; retry it instead", q.State)
	}
	return fmt.Sprintf("it was being sent at that moment and is %s now; try again", q.State)
}
