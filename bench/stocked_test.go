// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// BenchmarkStoreLook10k and BenchmarkStoreLook1M measure what a decision about
// one incoming reply reads: the post that it quotes, by one of three
// references, its thread, the aliases of its recipients and the contacts of
// its sender.
func BenchmarkStoreLook10k(b *testing.B) { look(b, stock10k) }

// BenchmarkStoreLook1M is the same with a hundred times as many messages.
func BenchmarkStoreLook1M(b *testing.B) { look(b, stock1M) }

func look(b *testing.B, k *stock) {
	b.Helper()
	s := k.open(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		n := i * 7907 % k.messages
		refs := []string{k.messageID(n), fmt.Sprintf("<%d.unknown@example.com>", i), fmt.Sprintf("<%d.other@example.com>", i)}
		posts, err := s.Posts(b.Context(), refs, 10)
		if err != nil || len(posts) != 1 {
			b.Fatalf("%d posts, %v", len(posts), err)
		}
		if _, err := s.Thread(b.Context(), posts[0].Thread); err != nil {
			b.Fatal(err)
		}
		aliases, err := s.Aliases(b.Context(), []mailflow.Address{k.alias(i % k.aliases), k.contact(i % k.contacts)})
		if err != nil || len(aliases) != 1 {
			b.Fatalf("%d aliases, %v", len(aliases), err)
		}
		contacts, err := s.Contacts(b.Context(), k.contact(n%k.contacts))
		if err != nil || len(contacts) != 1 {
			b.Fatalf("%d contacts, %v", len(contacts), err)
		}
	}
}

// BenchmarkStoreReply10k and BenchmarkStoreReply1M measure the commit of an
// incoming reply of 4 KiB, twenty at once: the message, its post, the thread
// that is updated, and the facts that the mail is new and the thread is there.
func BenchmarkStoreReply10k(b *testing.B) { reply(b, stock10k) }

// BenchmarkStoreReply1M is the same with a hundred times as many messages.
func BenchmarkStoreReply1M(b *testing.B) { reply(b, stock1M) }

// replies counts the replies of all benchmarks of this process.
var replies atomic.Int64

func reply(b *testing.B, k *stock) {
	b.Helper()
	s := k.open(b)
	parallel(b, 20, func(int64) error {
		n := replies.Add(1)
		d := decision(b, s, n)
		defer d.Spool.Discard()
		id := fmt.Sprintf("b%015d", n)
		d.Message.ID, d.Deliveries = id, nil
		p := k.post(int(n))
		p.ID, p.Message, p.MessageID, p.Thread = id, id, d.Message.MessageID, k.threadID(int(n)*7919%k.threads)
		d.Posts = []mailflow.Post{p}
		d.Facts = []mailflow.Fact{
			{Kind: mailflow.FactAbsent, Key: mailflow.FactKey("seen", p.MessageID)},
			{Kind: mailflow.FactExists, Key: mailflow.ThreadKey(p.Thread)},
		}
		return s.Commit(b.Context(), d)
	})
}
