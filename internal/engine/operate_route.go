// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Errors of [Engine.Route].
var (
	// ErrNoAlias is returned for an address that is no alias.
	ErrNoAlias = errors.New("no such alias")
	// ErrNoTarget is returned when neither a thread nor an alias is named.
	ErrNoTarget = errors.New("name a thread or an alias")
)

// Route puts a message of the unrouted box where an operator wants it: into
// the thread of that ID, or into a new one as the alias opens it, whoever the
// sender is. It returns the thread. Errors: [mailflow.ErrNoRecord] for the
// entry or the thread, [mailflow.ErrState], [ErrNoAlias].
func (e *Engine) Route(ctx context.Context, id, thread string, to mailflow.Address) (string, error) {
	g := e.pin()
	if g == nil {
		return "", ErrNotRunning
	}
	defer e.unpin(g)
	row, err := g.store.Message(ctx, id)
	if err != nil {
		return "", fmt.Errorf("looking for the message: %w", err)
	}
	it := &item{delivery: &mailflow.Delivery{Message: id}, row: row}
	if err := it.load(ctx, g.store); err != nil {
		return "", err
	}
	defer it.close()
	now := e.now()
	c := &deliberation{generation: g, peer: &row.Peer, env: &row.Envelope, msg: it.msg, now: now, again: true}
	tx := c.transaction(mailflow.Inbound, row.Envelope.Recipients, g.store)
	action, err := c.ordered(ctx, thread, to)
	if err != nil {
		return "", err
	}
	there, err := c.isIn(ctx, action.Thread)
	if err != nil {
		return "", err
	}
	if there {
		if err := g.store.RouteUnrouted(ctx, id, now, mailflow.Postings{}); err != nil {
			return "", fmt.Errorf("routing the message: %w", err)
		}
		return action.Thread, nil
	}
	known, err := g.store.Contacts(ctx, it.msg.Header.From())
	if err != nil {
		return "", fmt.Errorf("looking for the author: %w", err)
	}
	writer := alias.Writer{Address: it.msg.Header.From(), Contacts: known}
	if author := writer.Contact(nil); author != nil {
		action.Author, action.Follow = author.ID, author.ID
	}
	var p mailflow.Postings
	c.post(&p, tx, action)
	if err := g.store.RouteUnrouted(ctx, id, now, p); err != nil {
		return "", fmt.Errorf("routing the message: %w", err)
	}
	g.posted(&p)
	return p.Posts[0].Thread, nil
}

// isIn reports whether the message is in that thread already, by another of
// its recipients.
func (c *deliberation) isIn(ctx context.Context, thread string) (bool, error) {
	if thread == "" {
		return false, nil
	}
	posts, err := c.generation.store.PostsOf(ctx, thread)
	if err != nil {
		return false, fmt.Errorf("reading the thread %s: %w", thread, err)
	}
	return slices.ContainsFunc(posts, func(p mailflow.DigestedPost) bool { return p.Message == c.msg.ID }), nil
}

// ordered returns the action that an operator's order means.
func (c *deliberation) ordered(ctx context.Context, thread string, to mailflow.Address) (mailflow.PostTo, error) {
	store := c.generation.store
	if thread == "" && to.IsNull() {
		return mailflow.PostTo{}, ErrNoTarget
	}
	if thread == "" {
		stored, err := store.Aliases(ctx, c.generation.book.Candidates(to))
		if err != nil {
			return mailflow.PostTo{}, fmt.Errorf("looking for the alias: %w", err)
		}
		means := c.generation.book.Match(to, stored)
		if len(means) == 0 {
			return mailflow.PostTo{}, fmt.Errorf("%s: %w", to, ErrNoAlias)
		}
		a := means[0]
		if a.Thread == "" {
			return mailflow.PostTo{Open: alias.Open(&a, c.msg.Header), Alias: a.Address}, nil
		}
		thread = a.Thread
	}
	if _, err := store.Thread(ctx, thread); err != nil {
		return mailflow.PostTo{}, fmt.Errorf("thread %s: %w", thread, err)
	}
	return mailflow.PostTo{Thread: thread}, nil
}
