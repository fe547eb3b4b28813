// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"fmt"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// talkSteps are the operations about threads and people.
func (m *model) talkSteps() []func() {
	return []func(){m.putThread, m.putPost, m.digest, m.digest, m.contact, m.alias, m.follow}
}

// threadID returns the ID of one of few threads, known or not.
func (m *model) threadID() string { return fmt.Sprintf("t%d", m.rand.IntN(12)) }

func (m *model) ref() string { return fmt.Sprintf("<%d>", m.rand.IntN(20)) }

func (m *model) word() string { return m.pick("red", "green", "Blue", "grün") }

func (m *model) person() string { return m.pick("anna", "bob", "zoe") }

func (m *model) mailbox() mailflow.Address {
	return mailflow.Address{Local: m.pick("a", "A", "b", "c"), Domain: m.pick("example.org", "example.com")}
}

func (m *model) thread() mailflow.Thread {
	th := mailflow.Thread{
		ID: m.threadID(), Model: m.pick("lead", "task"), Name: m.word() + " " + m.word(), State: m.pick("open", "done"),
		Fields: map[string]string{"k": m.word()}, Created: m.now, Updated: m.soon(),
	}
	if m.rand.IntN(3) == 0 {
		th.Foreign = m.pick("1", "2", "3")
	}
	return th
}

func (m *model) post(message string) mailflow.Post {
	p := mailflow.Post{
		ID: m.id(), Thread: m.threadID(), Message: message, MessageID: m.ref(), Subject: m.word(), Kind: mailflow.PostComment,
		At: m.soon(),
	}
	for range m.rand.IntN(3) {
		p.Refs = append(p.Refs, m.ref())
	}
	if m.rand.IntN(20) == 0 {
		p.ID = fmt.Sprintf("%05d", m.rand.IntN(m.next)+1)
	}
	return p
}

// postings returns what may go into threads with a message.
func (m *model) postings(message string) (p mailflow.Postings) {
	for range m.rand.IntN(2) {
		p.Threads = append(p.Threads, m.thread())
	}
	for range m.rand.IntN(3) {
		p.Posts = append(p.Posts, m.post(message))
	}
	if len(p.Posts) > 0 && m.rand.IntN(2) == 0 {
		p.Follows = append(p.Follows, mailflow.Follower{Thread: p.Posts[0].Thread, Contact: m.person(), Notes: m.rand.IntN(2) == 0})
	}
	return p
}

func (m *model) putThread() {
	th := m.thread()
	m.alike("PutThread", m.sql.PutThread(m.Context(), &th), m.mem.PutThread(m.Context(), &th))
}

func (m *model) putPost() {
	p := m.post(fmt.Sprintf("%05d", m.rand.IntN(m.next+2)))
	if m.rand.IntN(3) == 0 {
		p.Message = ""
	}
	m.alike("PutPost", m.sql.PutPost(m.Context(), &p), m.mem.PutPost(m.Context(), &p))
}

func (m *model) digest() {
	id := "unknown"
	if posts, err := m.mem.Undigested(m.Context(), 3); err == nil && len(posts) > 0 {
		id = posts[m.rand.IntN(len(posts))].ID
	}
	if m.rand.IntN(4) == 0 {
		id = fmt.Sprintf("%05d", m.rand.IntN(m.next+2))
	}
	d := mailflow.Digest{Text: m.word() + ", " + m.word() + ".", HTML: m.word(), Flaws: []string{m.word()}}
	m.alike("PutDigest", m.sql.PutDigest(m.Context(), id, &d), m.mem.PutDigest(m.Context(), id, &d))
}

func (m *model) contact() {
	id := m.person()
	if m.rand.IntN(4) == 0 {
		m.alike("DropContact", m.sql.DropContact(m.Context(), id), m.mem.DropContact(m.Context(), id))
		return
	}
	c := mailflow.Contact{ID: id, Name: m.word(), Employee: m.rand.IntN(2) == 0}
	for range m.rand.IntN(3) {
		c.Addresses = append(c.Addresses, m.mailbox())
	}
	m.alike("PutContact", m.sql.PutContact(m.Context(), &c), m.mem.PutContact(m.Context(), &c))
}

func (m *model) alias() {
	a := mailflow.Alias{Address: m.mailbox(), Model: m.word(), AnyDomain: m.rand.IntN(2) == 0}
	if m.rand.IntN(3) == 0 {
		m.alike("DropAlias", m.sql.DropAlias(m.Context(), a.Address), m.mem.DropAlias(m.Context(), a.Address))
		return
	}
	m.alike("PutAlias", m.sql.PutAlias(m.Context(), &a), m.mem.PutAlias(m.Context(), &a))
}

func (m *model) follow() {
	f := mailflow.Follower{Thread: m.threadID(), Contact: m.person(), Notes: m.rand.IntN(2) == 0}
	if m.rand.IntN(3) == 0 {
		m.alike("Unfollow", m.sql.Unfollow(m.Context(), f.Thread, f.Contact), m.mem.Unfollow(m.Context(), f.Thread, f.Contact))
		return
	}
	m.alike("Follow", m.sql.Follow(m.Context(), f), m.mem.Follow(m.Context(), f))
}

// indexNames lets the names of all threads be searched, as the digests of
// their posts would.
func (m *model) indexNames() {
	threads, err := m.mem.Threads(m.Context(), mailflow.ThreadQuery{})
	if err != nil {
		m.Fatal(err)
	}
	err = m.sql.write(m.Context(), rowBytes, func(c *change) error {
		for i := range threads {
			if err := c.indexOnce(&threads[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.Fatal(err)
	}
}

// checkTalk compares what can be seen of threads and people.
func (m *model) checkTalk() {
	ctx, id, refs, boxes := m.Context(), m.threadID(), []string{m.ref(), m.ref()}, []mailflow.Address{m.mailbox(), m.mailbox()}
	q := mailflow.ThreadQuery{Model: m.pick("", "lead"), State: m.pick("", "", "open"), Before: m.pick("", m.threadID()), Limit: m.rand.IntN(5)}
	for range m.rand.IntN(3) {
		q.Text += m.word() + " "
	}
	m.indexNames()
	for what, get := range map[string]func(s mailflow.Store) (any, error){
		"thread":     func(s mailflow.Store) (any, error) { return s.Thread(ctx, id) },
		"thread of":  func(s mailflow.Store) (any, error) { return s.ThreadOf(ctx, "lead", "1") },
		"posts":      func(s mailflow.Store) (any, error) { return s.Posts(ctx, refs, 3) },
		"posts of":   func(s mailflow.Store) (any, error) { return s.PostsOf(ctx, id) },
		"contacts":   func(s mailflow.Store) (any, error) { return s.Contacts(ctx, boxes[0]) },
		"people":     func(s mailflow.Store) (any, error) { return s.ContactList(ctx, 2) },
		"followers":  func(s mailflow.Store) (any, error) { return s.Followers(ctx, id) },
		"aliases":    func(s mailflow.Store) (any, error) { return s.Aliases(ctx, boxes) },
		"alias list": func(s mailflow.Store) (any, error) { return s.AliasList(ctx) },
		"alias":      func(s mailflow.Store) (any, error) { return s.Version(ctx, mailflow.AliasKey(boxes[0])) },
		"record":     func(s mailflow.Store) (any, error) { return s.Version(ctx, mailflow.ThreadKey(id)) },
		"undigested": func(s mailflow.Store) (any, error) { return s.Undigested(ctx, 5) },
		"threads":    func(s mailflow.Store) (any, error) { return s.Threads(ctx, q) },
		"all":        func(s mailflow.Store) (any, error) { return s.Threads(ctx, mailflow.ThreadQuery{}) },
		"routed":     func(s mailflow.Store) (any, error) { return s.Unrouted(ctx, fmt.Sprintf("%05d", m.next/2), 0) },
	} {
		sql, err := get(m.sql)
		mem, err2 := get(m.mem)
		if m.alike(what, err, err2) {
			m.same(what, sql, mem)
		}
	}
}
