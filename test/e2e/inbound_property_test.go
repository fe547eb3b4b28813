// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// inboundRounds is how often the process is killed, inboundClients how many
	// clients send meanwhile.
	inboundRounds  = 7
	inboundClients = 8
	// minPerLife is how many recipients must get 250 before a round kills.
	minPerLife = 20
	// maxInboundLife is how long a process lives on at most.
	maxInboundLife = 300 * time.Millisecond
)

// TestInbound kills the process at random moments while clients send mail to
// aliases, answers, copies of both at once and later, other mail under known
// ids, and mail that is refused in part, and operators empty the unrouted box.
// In the end each mail that got 250 is
// in one place for each recipient: in one thread, in the unrouted box, or on
// its way out. What was refused is nowhere, and what got no answer is in no
// place twice.
func TestInbound(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MAILCADDY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the seed is %d; run it again with MAILCADDY_SEED=%d", seed, seed)
	s := &storm{receiver: newReceiver(t), rand: rand.New(rand.NewPCG(seed, 2)), ended: make(map[string]string), seen: make(map[string]bool)}
	for n := range inboundRounds {
		s.round(n)
	}
	s.start()
	s.awaitReady() // what a crash left is in order again
	s.stop()
	s.check()
	checkIntegrity(t, filepath.Join(s.dir, "data"))
}

// round starts the process, has clients send, and kills it: in one round of
// three at once, else when some mail has come.
func (s *storm) round(n int) {
	s.start()
	s.sent.Store(0)
	await(s.t, "the doors are open", func() bool { return listens(s.smtp) && listens(s.lmtp) && listens(s.submit) })
	before := s.acks.Load()
	var clients sync.WaitGroup
	over := make(chan struct{})
	for range inboundClients {
		rng := rand.New(rand.NewPCG(s.rand.Uint64(), 0))
		clients.Go(func() { s.send(rng, over) })
	}
	clients.Go(func() { s.unsettle(over) })
	for range 2 {
		rng := rand.New(rand.NewPCG(s.rand.Uint64(), 0))
		clients.Go(func() { s.operate(rng, over) })
	}
	if n%3 != 1 {
		await(s.t, "mail is taken", func() bool { return s.acks.Load() >= before+minPerLife })
	}
	time.Sleep(time.Duration(s.rand.Int64N(int64(maxInboundLife))))
	s.kill()
	close(over)
	clients.Wait()
}

// check compares what was acknowledged with what the store has.
func (s *storm) check() {
	var ids []string
	acks, unsure, dropped := 0, 0, 0
	byKey := make(map[string]*letter)
	for _, l := range s.all {
		byKey[l.key] = l
		unsure += len(l.unsure)
		for _, messages := range l.acked {
			acks += len(messages)
			ids = append(ids, messages...)
		}
	}
	k := s.read(slices.AppendSeq(ids, maps.Keys(s.seen)))
	found := s.find(k, byKey)
	for _, l := range s.all {
		for place, holders := range found[l.key] {
			if len(holders) > 1 {
				s.t.Errorf("%s is %q %d times, by the messages %q", l.key, place, len(holders), holders)
			}
			meant := func(to string) bool { return l.places[to] == place && (len(l.acked[to]) > 0 || l.unsure[to]) }
			if !slices.ContainsFunc(slices.Collect(maps.Keys(l.places)), meant) {
				s.t.Errorf("%s to %q is %q, where nobody sent it", l.key, l.to, place)
			}
		}
		for to, messages := range l.acked {
			holders := found[l.key][l.places[to]]
			if len(holders) == 0 {
				s.t.Errorf("%s got 250 for %s and is not %q but in %v", l.key, to, l.places[to], found[l.key])
			}
			for _, id := range messages {
				switch duplicate := strings.Contains(k.rows[id].Dropped, "duplicate"); {
				case slices.Contains(holders, id):
				case duplicate:
					dropped++
				default:
					s.t.Errorf("%s got 250 for %s as %s, which is nothing", l.key, to, id)
				}
			}
		}
	}
	if acks < inboundRounds*minPerLife/2 || dropped == 0 {
		s.t.Errorf("%d recipients got 250, and %d of them were dropped as duplicates: too few to tell anything", acks, dropped)
	}
	s.t.Logf("%d rounds, %d mails: 250 for %d recipients, of which %d are duplicates, no answer for %d; %d posts in %d threads, %d unrouted, of which operators ended %d, %d going out",
		inboundRounds, len(s.all), acks, dropped, unsure, len(k.posts), len(k.threads), len(k.unrouted), len(s.ended), len(k.queue))
}

// find returns the messages by which each letter is in its places.
func (s *storm) find(k *kept, byKey map[string]*letter) map[string]map[string][]string {
	found := make(map[string]map[string][]string)
	add := func(key, place, message string) {
		if byKey[key] == nil {
			s.t.Errorf("%q is %q, and nobody sent it", key, place)
		}
		if found[key] == nil {
			found[key] = make(map[string][]string)
		}
		found[key][place] = append(found[key][place], message)
	}
	routed := make(map[string]int)
	for i := range k.posts {
		p := &k.posts[i]
		th := k.threads[p.Thread]
		if th.Fields["box"] == "desk" {
			routed[p.Message]++
			continue
		}
		add(p.Subject, threadPlace(th.Fields["box"], th.Name), p.Message)
		l := byKey[p.Subject]
		if l == nil {
			continue
		}
		kind, by := l.kindIn(threadPlace(th.Fields["box"], th.Name)), map[string]string{anna: "anna", app: "app"}[l.from]
		if p.Kind != kind || p.Author != by {
			s.t.Errorf("the post of %s is a %s by %q, want a %s by %q", l.key, p.Kind, p.Author, kind, by)
		}
	}
	for _, u := range k.unrouted {
		for _, r := range u.Recipients {
			add(k.rows[u.Message].Subject, inBox+r.Address.String(), u.Message)
		}
		s.checkEntry(&u, routed[u.Message])
		delete(routed, u.Message)
	}
	for id, n := range routed {
		s.t.Errorf("%s was put into %d threads, and was not in the box", id, n)
	}
	for i := range k.queue {
		d := &k.queue[i]
		for _, r := range d.Envelope.Recipients {
			add(d.Subject, onItsWay+r.Address.String(), d.Message)
		}
		if d.State != mailflow.StateCaptured {
			s.t.Errorf("%s to %v is %s, want captured", d.Subject, d.Envelope.Recipients, d.State)
		}
	}
	return found
}

// checkEntry compares an entry of the unrouted box with what operators were
// told, and with the threads that it is in.
func (s *storm) checkEntry(u *mailflow.Unrouted, threads int) {
	want := 0
	if !u.Routed.IsZero() {
		want = 1
	}
	if threads != want || !u.Routed.IsZero() && !u.Dropped.IsZero() {
		s.t.Errorf("the unrouted %s is in %d threads, and was routed %v, dropped %v", u.Message, threads, u.Routed, u.Dropped)
	}
	if by := s.ended[u.Message]; by == "drop" && u.Dropped.IsZero() || strings.HasPrefix(by, "route") && u.Routed.IsZero() {
		s.t.Errorf("%s was ended by %s, and was routed %v, dropped %v", u.Message, by, u.Routed, u.Dropped)
	}
}
