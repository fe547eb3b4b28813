// SPDX-License-Identifier: Apache-2.0

package engine

import (
	netmail "net/mail"
	"time"

	"github.com/rs/xid"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxAhead is how far the Date of a mail may be ahead of the clock: clocks of
// others are wrong by minutes, not by a day.
const maxAhead = 24 * time.Hour

// post adds to p what the action a asks for: the post, the thread if it is to
// be opened, and the new follower.
func (c *deliberation) post(p *mailflow.Postings, tx *mailflow.Transaction, a mailflow.PostTo) {
	h := c.msg.Header
	post := mailflow.Post{
		ID: xid.NewWithTime(c.now).String(), Thread: a.Thread, Message: c.msg.ID,
		MessageID: clip(reply.MessageID(h), mailflow.MaxStoredText),
		Parent:    a.Parent, Author: a.Author, Kind: a.Kind, Weak: a.Weak,
		From:    alias.From(h),
		Subject: clip(h.Get("Subject"), mailflow.MaxStoredText),
		At:      c.written(),
	}
	if index := reply.ThreadIndex(h); index != "" {
		post.Refs = append(post.Refs, index)
	}
	if a.Thread == "" {
		t := *a.Open
		t.ID = xid.NewWithTime(c.now).String()
		t.Created, t.Updated = c.now, c.now
		if t.State == "" {
			t.State = mailflow.ThreadOpen
		}
		if t.Domain == "" {
			t.Domain = tx.Domain
		}
		p.Threads = append(p.Threads, t)
		post.Thread = t.ID
	}
	if post.Kind == "" {
		post.Kind = mailflow.PostComment
	}
	p.Posts = append(p.Posts, post)
	if a.Follow != "" {
		p.Follows = append(p.Follows, mailflow.Follower{Thread: post.Thread, Contact: a.Follow})
	}
}

// written returns when the message was written, by its Date field if that can
// be true.
func (c *deliberation) written() time.Time {
	at, err := netmail.ParseDate(c.msg.Header.Get("Date"))
	if err != nil || at.After(c.now.Add(maxAhead)) || at.Year() < 1982 { // RFC 822
		return c.now
	}
	return at.UTC()
}

// posted goes on with what was committed about threads.
func (g *Generation) posted(p *mailflow.Postings) {
	if len(p.Posts) > 0 {
		g.store.runner.digests.wake()
	}
}
