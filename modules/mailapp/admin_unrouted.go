// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// unroutedEntry is an entry of the unrouted box as the admin API and the
// commands show it.
type unroutedEntry struct {
	// ID is the ID of the message.
	ID string `json:"id"`
	// From is the author in the header, as text; without one the sender of the
	// envelope. To are the recipients that nothing claimed.
	From    string    `json:"from"`
	To      []string  `json:"to"`
	Subject string    `json:"subject"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
	Bytes   int64     `json:"bytes"`
	// Dropped is when an operator threw it away, Routed when one put it into a
	// thread; both are absent while it waits.
	Dropped time.Time `json:"dropped,omitzero"`
	Routed  time.Time `json:"routed,omitzero"`

	EnvelopeFrom string `json:"envelope_from"`
	Listener     string `json:"listener"`
	MessageID    string `json:"message_id"`
}

// boxEntry returns u as it is shown.
func boxEntry(ctx context.Context, s mailflow.Store, u *mailflow.Unrouted) (unroutedEntry, error) {
	m, err := s.Message(ctx, u.Message)
	if err != nil {
		return unroutedEntry{}, fmt.Errorf("message %s: %w", u.Message, err)
	}
	e := unroutedEntry{
		ID: u.Message, From: m.From, To: addressTexts(u.Recipients), Subject: m.Subject,
		Reason: u.Reason, At: u.At, Bytes: m.Size, Dropped: u.Dropped, Routed: u.Routed,
		EnvelopeFrom: m.Envelope.From.String(), Listener: m.Peer.Listener, MessageID: m.MessageID,
	}
	if e.From == "" {
		e.From = e.EnvelopeFrom
	}
	return e, nil
}

// listUnrouted answers GET /mail/unrouted.
func (a *Admin) listUnrouted(w http.ResponseWriter, r *http.Request) error {
	limit, err := listLimit(r)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = mailflow.DefaultListLimit
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	box, err := store.Unrouted(r.Context(), "", limit)
	if err != nil {
		return refusal(fmt.Errorf("listing the unrouted box: %w", err))
	}
	entries := make([]unroutedEntry, 0, len(box))
	for i := range box {
		e, err := boxEntry(r.Context(), store, &box[i])
		if errors.Is(err, mailflow.ErrNoRecord) {
			continue // swept since the list was read
		}
		if err != nil {
			return refusal(err)
		}
		entries = append(entries, e)
	}
	return reply(w, http.StatusOK, entries)
}

// unrouted returns one entry of the box. Error: [mailflow.ErrNoRecord].
func unrouted(ctx context.Context, s mailflow.Store, id string) (*mailflow.Unrouted, error) {
	box, err := s.Unrouted(ctx, id, 1)
	if err == nil && len(box) == 0 {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return nil, fmt.Errorf("unrouted message %s: %w", id, err)
	}
	return &box[0], nil
}

// showUnrouted answers GET /mail/unrouted/ID.
func (a *Admin) showUnrouted(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	return replyUnrouted(w, r, store)
}

// replyUnrouted answers with one entry of the box.
func replyUnrouted(w http.ResponseWriter, r *http.Request, store mailflow.Store) error {
	u, err := unrouted(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	e, err := boxEntry(r.Context(), store, u)
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, e)
}

// unroutedMessage answers GET /mail/unrouted/ID/message.
func (a *Admin) unroutedMessage(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	u, err := unrouted(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	return sendMessage(w, r, store, u.Message)
}

// dropUnrouted answers POST /mail/unrouted/ID/drop with the entry as it then
// is.
func (a *Admin) dropUnrouted(w http.ResponseWriter, r *http.Request) error {
	if _, err := arguments(w, r); err != nil {
		return err
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	err = store.DropUnrouted(r.Context(), id, time.Now())
	if errors.Is(err, mailflow.ErrState) {
		return over(r.Context(), store, id)
	}
	if err != nil {
		return refusal(fmt.Errorf("unrouted message %s: %w", id, err))
	}
	return replyUnrouted(w, r, store)
}

// over says what became of an entry of the box that does not wait any more.
func over(ctx context.Context, store mailflow.Store, id string) error {
	u, err := unrouted(ctx, store, id)
	switch {
	case err != nil:
		return refusal(err)
	case !u.Routed.IsZero():
		return apiError(http.StatusConflict, "unrouted message %s was put into a thread before", id)
	}
	return apiError(http.StatusConflict, "unrouted message %s was dropped before", id)
}

// routedEntry is an entry that was put into a thread.
type routedEntry struct {
	unroutedEntry

	Thread string `json:"thread"`
}

// routeUnrouted answers POST /mail/unrouted/ID/route with the entry as it then
// is, and its thread.
func (a *Admin) routeUnrouted(w http.ResponseWriter, r *http.Request) error {
	args, err := arguments(w, r, "alias", "thread")
	if err != nil {
		return err
	}
	if (args["alias"] == "") == (args["thread"] == "") {
		return apiError(http.StatusBadRequest, "name the alias or the thread that gets the message")
	}
	var to mailflow.Address
	if args["alias"] != "" {
		if to, err = aliasAddress(args["alias"]); err != nil {
			return apiError(http.StatusBadRequest, "alias: %w", err)
		}
	}
	op, store, err := a.store()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := unrouted(r.Context(), store, id); err != nil {
		return refusal(err)
	}
	routed := routedEntry{}
	routed.Thread, err = op.Route(r.Context(), id, args["thread"], to)
	switch {
	case errors.Is(err, mailflow.ErrState):
		return over(r.Context(), store, id)
	case errors.Is(err, engine.ErrNoAlias):
		return apiError(http.StatusNotFound, "%s is no alias; `mail alias list` shows them, `mail alias set` makes one", to)
	case err != nil:
		return refusal(fmt.Errorf("unrouted message %s: %w", id, err))
	}
	u, err := unrouted(r.Context(), store, id)
	if err != nil {
		return refusal(err)
	}
	if routed.unroutedEntry, err = boxEntry(r.Context(), store, u); err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, routed)
}
