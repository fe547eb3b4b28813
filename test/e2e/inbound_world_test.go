// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/mailcaddy/mailcaddy/internal/rule/token"
	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// receiving is a gateway that finds the threads of mail. It has three doors:
// for strangers, for a server that delivers, and for a user who submits.
const receiving = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com {
			company "My Company" info@mycompany.com
		}
		alias sales@mycompany.com {
			model lead
			set box sales
		}
		alias support@mycompany.com {
			model ticket
			contact known
			refuse "Please register first"
			set box support
		}
		alias always@mycompany.com {
			model note
			thread standing
		}
		alias also@mycompany.com {
			model note
			thread standing
		}
		alias desk@mycompany.com {
			model question
			set box desk
		}
		smtp %s {
			name strangers
			receive
		}
		lmtp %s {
			name server
		}
		smtp %s {
			name submission
			submit
			user app %s
		}
		inbound {
			authenticate
			dedupe
			replies
			aliases
			catchall
			fallback
			unrouted
		}
	}
}
`

// standing is the thread that two of the aliases always write to.
const standing = "standing"

// receiver is such a gateway, with its doors.
type receiver struct {
	*gateway

	smtp, lmtp, submit string
	// keys are those of its tokens.
	keys token.Keys
}

// newReceiver returns a gateway that does not run yet. Its store has an alias,
// two contacts, and a thread.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{smtp: freeAddress(t), lmtp: freeAddress(t), submit: freeAddress(t)}
	r.gateway = newGateway(t, fmt.Sprintf(receiving, r.smtp, r.lmtp, r.submit, hash))
	now := time.Now()
	r.keys, _ = token.Keys(nil).Rotate(now)
	keys, err := json.Marshal(r.keys)
	if err != nil {
		t.Fatal(err)
	}
	at, ctx := mailflow.MustParseAddress, t.Context()
	r.withStore(func(s mailflow.Store) {
		for _, err := range []error{
			s.SetValue(ctx, "token-keys", keys, 0),
			s.PutAlias(ctx, &mailflow.Alias{Address: at("kept@mycompany.com"), Model: "lead", Set: map[string]string{"box": "kept"}}),
			s.PutContact(ctx, &mailflow.Contact{ID: "anna", Addresses: []mailflow.Address{at("anna@customer.example")}}),
			s.PutContact(ctx, &mailflow.Contact{ID: "app", Addresses: []mailflow.Address{at("app@mycompany.com")}, User: true}),
			s.PutThread(ctx, &mailflow.Thread{
				ID: standing, Model: "note", Name: standing, State: mailflow.ThreadOpen,
				Fields: map[string]string{"box": standing}, Created: now, Updated: now,
			}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	return r
}

// withStore opens the store while the gateway does not run.
func (r *receiver) withStore(use func(mailflow.Store)) {
	r.t.Helper()
	s, err := sqlstore.Open(r.t.Context(), sqlstore.Options{Dir: filepath.Join(r.dir, "data"), Now: time.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	use(s)
}

// session is a client of a door that may answer for each recipient.
type session struct {
	*client

	// each is set where the content has a reply for each recipient (RFC 2033).
	each bool
}

// open begins a session at a door; the one for submission gets the password.
func (r *receiver) open(door string) (*session, error) {
	if door == r.lmtp {
		c, err := dialLMTP(door)
		return &session{client: c, each: true}, err
	}
	c, err := dial(door)
	if err != nil || door != r.submit {
		return &session{client: c}, err
	}
	if a, err := c.command(plainLogin("right")); err != nil || a.code != 235 {
		c.close()
		return nil, fmt.Errorf("logging in: %v, %w", a, err)
	}
	return &session{client: c}, nil
}

// hand gives a mail to its recipients in one transaction. It returns the
// answers that end the matter, in the order of the recipients: the refusal of
// RCPT, or the reply to the content. Where the connection broke before there
// is none, and the error says so.
func (s *session) hand(from string, to []string, content string) ([]answer, error) {
	final := make([]answer, len(to))
	var lines strings.Builder
	fmt.Fprintf(&lines, "MAIL FROM:<%s>\r\n", from)
	for _, a := range to {
		fmt.Fprintf(&lines, "RCPT TO:<%s>\r\n", a)
	}
	if err := s.write([]byte(lines.String() + "DATA\r\n")); err != nil {
		return final, err
	}
	if a, err := s.read(); err != nil || a.code != 250 {
		return final, fmt.Errorf("answer to MAIL: %v, %w", a, err)
	}
	var taken []int
	for i := range to {
		a, err := s.read()
		if err != nil {
			return final, err
		}
		if a.code == 250 {
			taken = append(taken, i)
			continue
		}
		final[i] = a
	}
	data, err := s.read()
	if err != nil {
		return final, err
	}
	if len(taken) == 0 {
		_, err := s.command("RSET")
		return final, err
	}
	if data.code != 354 {
		return final, fmt.Errorf("answer to DATA %v", data)
	}
	if err := s.write(stuffed(content)); err != nil {
		return final, err
	}
	var a answer
	for n, i := range taken {
		if n == 0 || s.each {
			if a, err = s.read(); err != nil {
				return final, err
			}
		}
		final[i] = a
	}
	return final, nil
}

// dialLMTP connects to a door and says LHLO.
func dialLMTP(door string) (*client, error) {
	nc, err := net.DialTimeout("tcp", door, patience)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReader(nc)}
	if err := c.greetBy("LHLO"); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// kept is what the store of a receiver holds in the end.
type kept struct {
	threads map[string]mailflow.Thread
	posts   []mailflow.Post
	// unrouted are the entries of the box that wait, and those of rows that do
	// not any more.
	unrouted []mailflow.Unrouted
	queue    []mailflow.Queued
	// rows are the messages that posts and entries name, and those asked for.
	rows map[string]*mailflow.StoredMessage
}

// read reads the store of a gateway that does not run, with the messages of
// these IDs.
func (r *receiver) read(ids []string) *kept {
	r.t.Helper()
	const all = 1_000_000
	k := &kept{threads: make(map[string]mailflow.Thread), rows: make(map[string]*mailflow.StoredMessage)}
	ctx := r.t.Context()
	check := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.withStore(func(s mailflow.Store) {
		threads, err := s.Threads(ctx, mailflow.ThreadQuery{Limit: all})
		check(err)
		for _, th := range threads {
			k.threads[th.ID] = th
			posts, err := s.PostsOf(ctx, th.ID)
			check(err)
			for i := range posts {
				k.posts = append(k.posts, posts[i].Post)
				ids = append(ids, posts[i].Message)
			}
		}
		k.unrouted, err = s.Unrouted(ctx, "", all)
		check(err)
		for i := range k.unrouted {
			ids = append(ids, k.unrouted[i].Message)
		}
		k.queue, err = s.Deliveries(ctx, mailflow.QueueQuery{Limit: all})
		check(err)
		for _, id := range ids {
			row, err := s.Message(ctx, id)
			if err != nil {
				r.t.Errorf("message %s: %v", id, err)
				row = new(mailflow.StoredMessage)
			}
			if k.rows[id] == nil {
				k.addEntry(s.Unrouted(ctx, id, 1))
			}
			k.rows[id] = row
		}
	})
	return k
}

// addEntry adds an entry of the box that an operator has ended.
func (k *kept) addEntry(entries []mailflow.Unrouted, err error) {
	for _, u := range entries {
		if err == nil && (!u.Routed.IsZero() || !u.Dropped.IsZero()) {
			k.unrouted = append(k.unrouted, u)
		}
	}
}
