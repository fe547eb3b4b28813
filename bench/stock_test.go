// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// stock is what a generated store holds: messages in the ledger, each with a
// post, its Message-Id marked as seen, and a contact who wrote it. Posts are
// spread over the threads, in their order: that is written quickest. They refer
// to no message, so that nobody makes their digests while something else is
// measured.
type stock struct {
	messages, threads, aliases, contacts int
}

// The stocks that are compared: what is looked up should cost the same.
var (
	stock10k = &stock{messages: 10_000, threads: 100_000, aliases: 10_000, contacts: 10_000}
	stock1M  = &stock{messages: 1_000_000, threads: 100_000, aliases: 10_000, contacts: 10_000}
)

// stockBatch is how many messages or threads one commit writes.
const stockBatch = 10_000

// stocks are the directories of the stores that this process has generated.
var stocks = struct {
	sync.Mutex
	dirs map[*stock]string
}{dirs: make(map[*stock]string)}

// TestMain removes the generated stores, which are kept from one benchmark to
// the next.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range stocks.dirs {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// open opens a store with that stock. One benchmark at a time has it open, and
// finds what those before it have added.
func (k *stock) open(b *testing.B) *sqlstore.Store {
	b.Helper()
	s, err := sqlstore.Open(b.Context(), sqlstore.Options{Dir: k.dir(b), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// dir returns the directory of a store with that stock, closed.
func (k *stock) dir(b *testing.B) string {
	b.Helper()
	stocks.Lock()
	defer stocks.Unlock()
	if dir := stocks.dirs[k]; dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("", "stock") //nolint:usetesting // outlives the benchmark
	if err != nil {
		b.Fatal(err)
	}
	stocks.dirs[k] = dir
	s, err := sqlstore.Open(b.Context(), sqlstore.Options{Dir: dir, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := errors.Join(k.fill(b, s), s.Close()); err != nil {
		b.Fatal(err)
	}
	b.Logf("a store of %d messages was made in %v", k.messages, time.Since(began).Round(time.Second))
	return dir
}

// fill writes the stock through the store's own methods.
func (k *stock) fill(b *testing.B, s *sqlstore.Store) error {
	b.Helper()
	var errs []error
	// Many at once share a flush.
	var wg sync.WaitGroup
	const hands = 50
	failed := make([]error, hands)
	for hand := range hands {
		wg.Go(func() {
			for i := hand; i < max(k.aliases, k.contacts) && failed[hand] == nil; i += hands {
				failed[hand] = k.fillDirectory(b, s, i)
			}
		})
	}
	wg.Wait()
	errs = append(errs, failed...)
	for first := 0; first < k.threads; first += stockBatch {
		d, err := k.message(b, s, -1-first)
		if err != nil {
			return err
		}
		for i := first; i < min(first+stockBatch, k.threads); i++ {
			d.Threads = append(d.Threads, k.thread(i))
		}
		errs = append(errs, s.Commit(b.Context(), d))
	}
	for first := 0; first < k.messages && errors.Join(errs...) == nil; first += stockBatch {
		var all *mailflow.Decision
		for i := first; i < min(first+stockBatch, k.messages); i++ {
			d, err := k.message(b, s, i)
			if err != nil {
				return err
			}
			d.Posts = []mailflow.Post{k.post(i)}
			d.Facts = []mailflow.Fact{{Kind: mailflow.FactAbsent, Key: mailflow.FactKey("seen", k.messageID(i))}}
			if all == nil {
				all = d
			} else {
				all.Made = append(all.Made, *d)
			}
		}
		errs = append(errs, s.Commit(b.Context(), all))
	}
	return errors.Join(errs...)
}

// fillDirectory writes alias and contact number i.
func (k *stock) fillDirectory(b *testing.B, s *sqlstore.Store, i int) error {
	b.Helper()
	var errs []error
	if i < k.aliases {
		errs = append(errs, s.PutAlias(b.Context(), &mailflow.Alias{Address: k.alias(i), Model: "ticket", AnyDomain: i%10 == 0}))
	}
	if i < k.contacts {
		errs = append(errs, s.PutContact(b.Context(), &mailflow.Contact{
			ID: fmt.Sprintf("c%07d", i), Name: fmt.Sprintf("Contact %d", i), Addresses: []mailflow.Address{k.contact(i)},
		}))
	}
	return errors.Join(errs...)
}

// messageID returns the Message-Id of message number i.
func (*stock) messageID(i int) string { return fmt.Sprintf("<%d.stock@example.com>", i) }

// threadID returns the ID of thread number i.
func (*stock) threadID(i int) string { return fmt.Sprintf("a%09d", i) }

// alias returns the address of alias number i, contact one of contact number i.
func (*stock) alias(i int) mailflow.Address {
	return mailflow.Address{Local: fmt.Sprintf("alias%d", i), Domain: "example.org"}
}

func (*stock) contact(i int) mailflow.Address {
	return mailflow.Address{Local: fmt.Sprintf("contact%d", i), Domain: "example.com"}
}

// stockNow is when the last message of a stock came.
var stockNow = time.Now()

func (k *stock) thread(i int) mailflow.Thread {
	at := stockNow.Add(-time.Duration(k.threads-i) * time.Second)
	return mailflow.Thread{
		ID: k.threadID(i), Model: "ticket", Foreign: fmt.Sprint(i), Name: fmt.Sprintf("Ticket %d", i), From: k.contact(i % k.contacts).String(),
		Domain: "example.org", State: mailflow.ThreadOpen, Created: at, Updated: at,
	}
}

func (k *stock) post(i int) mailflow.Post {
	return mailflow.Post{
		ID: fmt.Sprintf("a%09d", i), Thread: k.threadID(i * k.threads / k.messages), MessageID: k.messageID(i),
		Author: fmt.Sprintf("c%07d", i%k.contacts), From: k.contact(i % k.contacts).String(), Kind: mailflow.PostComment,
		Subject: fmt.Sprintf("Re: Ticket %d", i), At: stockNow.Add(-time.Duration(k.messages-i) * time.Millisecond),
	}
}

// message returns the decision about message number i, without what becomes
// of it. Those of threads have negative numbers.
func (k *stock) message(b *testing.B, s *sqlstore.Store, i int) (*mailflow.Decision, error) {
	b.Helper()
	spool, err := s.Spool(b.Context())
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "Message-Id: %s\r\nSubject: Re: Ticket %d\r\n\r\n", k.messageID(i), i)
	if _, err := io.Copy(spool, io.MultiReader(bytes.NewReader(text), bytes.NewReader(content[:200]))); err != nil {
		return nil, err
	}
	body, err := spool.Body()
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("a%09d", i)
	if i < 0 {
		id = fmt.Sprintf("a-%09d", -i)
	}
	m := mailflow.StoredMessage{
		ID: id, Received: stockNow, Size: body.Size(), Envelope: envelope, From: k.contact(max(i, 0) % k.contacts).String(),
		Peer:    mailflow.Peer{Listener: "door", Protocol: "ESMTP", Hello: "client", At: stockNow},
		Subject: fmt.Sprintf("Re: Ticket %d", i), MessageID: k.messageID(i),
	}
	return &mailflow.Decision{Message: m, Spool: spool}, body.Close()
}
