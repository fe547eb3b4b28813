// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// receiving is a gateway that decides about mail from outside.
const receiving = `{
	admin off
	log {
		level ERROR
	}
	mail {
		hostname mx.example.org
		store sqlite %q
		domain example.org
		smtp %s {
			receive
			max_connections_per_ip 100
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

// BenchmarkInbound10k and BenchmarkInbound1M measure from the first command of
// an incoming message of 4 KiB to its 250, over twenty connections: the door,
// the decision, and its commit to the disk. Of ten messages six answer a
// stored one, three open a thread by an alias, and one came before. The store
// has 100,000 threads, 10,000 aliases, and as many messages as the name says:
// the rates should differ little.
func BenchmarkInbound10k(b *testing.B) { inbound(b, stock10k) }

// BenchmarkInbound1M is the same with a hundred times as many messages.
func BenchmarkInbound1M(b *testing.B) { inbound(b, stock1M) }

// incoming counts the messages of all runs, which share the stores: each has an
// id of its own.
var incoming atomic.Int64

func inbound(b *testing.B, k *stock) {
	b.Helper()
	dir := k.dir(b)
	door := load(b, func(door string) string { return fmt.Sprintf(receiving, dir, door) })
	submit(b, door, 20, func(int64) mail { return k.incoming(int(incoming.Add(1))) }, nil)
}

// incoming returns message number i from outside.
func (k *stock) incoming(i int) mail {
	id, quoted := fmt.Sprintf("<%d.in@client.example>", i), ""
	to := k.alias(i % k.aliases).String()
	switch i % 10 {
	case 0: // one that came before
		id = fmt.Sprintf("<%d.in@client.example>", i-1)
		to = k.alias((i - 1) % k.aliases).String()
		i--
	case 1, 2, 3, 4, 5, 6:
		to = "catchall@example.org"
		quoted = fmt.Sprintf("In-Reply-To: %[1]s\r\nReferences: <%[2]d.old@client.example> %[1]s\r\n", k.messageID(i*7907%k.messages), i)
	}
	from := k.contact(i % k.contacts).String()
	return mail{from, to, fmt.Sprintf("From: Contact %d <%s>\r\nTo: %s\r\nSubject: Re: Ticket %d\r\n"+
		"Date: Sat, 21 Nov 2026 16:00:00 +0000\r\nMessage-Id: %s\r\n%s\r\n%s", i, from, to, i, id, quoted, text)}
}
