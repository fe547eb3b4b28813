// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// routeOf returns the route that decides about a recipient. Who may submit
// reaches the world, and of us only the addresses that we answer ourselves;
// everybody else reaches all addresses of our domains and nothing more. The
// error is a reply, or one of the store.
func (g *Generation) routeOf(ctx context.Context, view mailflow.View, peer *mailflow.Peer, rcpt mailflow.Address) (mailflow.RouteName, error) {
	ds := g.config.Domains
	switch {
	case ds.Ours(rcpt), rcpt.Domain == "", !peer.Submits && ds.Find(rcpt.Domain) != nil:
		return mailflow.Inbound, nil
	case peer.Submits && len(g.book.Candidates(rcpt)) == 1 && ds.Find(rcpt.Domain) == nil:
		return mailflow.Outbound, nil // whatever aliases the store has: it is of the world
	}
	place, err := g.place(ctx, view, rcpt)
	switch {
	case err != nil:
		return "", err
	case place == alias.PlaceMeans:
		return mailflow.Inbound, nil
	case peer.Submits:
		return mailflow.Outbound, nil
	}
	return "", mailflow.ReplyRelayDenied
}

// postmaster is the mailbox that takes mail in every domain (RFC 5321 section
// 4.5.1).
const postmaster = "postmaster"

// admit asks the route about a recipient, as RCPT does. The postmaster is let
// in whatever the route says: what nothing claims waits in the unrouted box.
func (g *Generation) admit(
	ctx context.Context, view mailflow.View, route mailflow.RouteName, peer *mailflow.Peer, env *mailflow.Envelope, rcpt mailflow.Recipient,
) error {
	tx := mailflow.NewTransaction(route, peer, env, nil)
	tx.View, tx.Now = view, g.engine.now()
	if s := g.store; s != nil {
		tx.Tokens = s.tokenKeys()
	}
	err := g.route(route).Rcpt(ctx, tx, rcpt)
	if errors.Is(err, mailflow.ReplyUnknownRecipient) && strings.EqualFold(rcpt.Address.Local, postmaster) {
		return nil
	}
	return err
}

// place says what rcpt is to us, by the aliases of the configuration and of the
// store.
func (g *Generation) place(ctx context.Context, view mailflow.View, rcpt mailflow.Address) (alias.Place, error) {
	stored, err := view.Aliases(ctx, g.book.Candidates(rcpt))
	if err != nil {
		return alias.PlaceElsewhere, fmt.Errorf("looking for the alias: %w", err)
	}
	return g.book.Place(rcpt, stored), nil
}

// address gives a fetched message, which has no envelope, the recipients that
// its header names of us, and the sender that its mailbox noted. Where none of
// them is ours it is for the mailbox itself.
func (c *deliberation) address(ctx context.Context, view mailflow.View) error {
	if paths := c.msg.Header.Addresses("Return-Path"); len(paths) > 0 {
		c.env.From = paths[0]
	}
	var err error
	if c.env.Recipients, err = c.named(ctx, view); err != nil {
		return err
	}
	if len(c.env.Recipients) == 0 {
		c.env.Recipients = []mailflow.Recipient{{Address: c.mailbox()}}
	}
	c.inbound = c.env.Recipients
	return nil
}

// named returns the recipients that the header names of us.
func (c *deliberation) named(ctx context.Context, view mailflow.View) ([]mailflow.Recipient, error) {
	groups := alias.Addressed(c.msg.Header, c.generation.config.Behavior)
	ours, err := alias.Recipients(groups, func(a mailflow.Address) (alias.Place, error) {
		return c.generation.place(ctx, view, a)
	})
	rcpts := make([]mailflow.Recipient, len(ours))
	for i, a := range ours {
		rcpts[i].Address = a
	}
	return rcpts, err
}

// mailbox returns the address of the mailbox that the message was in.
func (c *deliberation) mailbox() mailflow.Address {
	if !c.peer.Mailbox.IsNull() {
		return c.peer.Mailbox
	}
	return mailflow.Address{Local: c.peer.Listener, Domain: c.generation.config.Hostname}
}

// routed returns the route of a recipient that was let in.
func (c *deliberation) routed(r mailflow.Recipient) mailflow.RouteName {
	for _, in := range c.inbound {
		if in.Address.Is(r.Address) {
			return mailflow.Inbound
		}
	}
	return mailflow.Outbound
}
