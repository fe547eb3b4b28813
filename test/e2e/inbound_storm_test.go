// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxPerLife bounds what one process gets, so that the whole is checked soon.
const maxPerLife = 150

// storm is a gateway under fire, and what its clients know.
type storm struct {
	*receiver

	rand *rand.Rand
	next atomic.Int64
	acks atomic.Int64
	sent atomic.Int64 // of this life
	mu   sync.Mutex
	all  []*letter
	// ended are the entries of the unrouted box whose end an operator was told.
	ended map[string]string
	// seen are the entries that an operator was shown: one whose end was
	// ordered, and not confirmed before the kill, is known by nothing else if
	// the sender's 250 was lost too.
	seen map[string]bool
}

// unsettle changes an alias of the store again and again, so that decisions
// that rest on it are made once more.
func (s *storm) unsettle(over <-chan struct{}) {
	for turn := 0; ; turn++ {
		select {
		case <-over:
			return
		case <-time.After(pollPause):
		}
		body := fmt.Sprintf(`{"model": "lead", "set": {"box": "kept", "turn": "%d"}}`, turn)
		status, said, err := s.ask(http.MethodPut, "/mail/aliases/kept@mycompany.com", []byte(body))
		if err == nil && status != http.StatusOK && status != http.StatusNotFound && status != http.StatusServiceUnavailable {
			s.t.Errorf("changing the alias: %d %s", status, said)
		}
	}
}

// operate is an operator: each entry of the unrouted box is put into a thread
// of its own, or thrown away. Another one does the same meanwhile.
func (s *storm) operate(rng *rand.Rand, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(pollPause):
		}
		var box []struct{ ID string }
		status, said, err := s.ask(http.MethodGet, "/mail/unrouted?limit=5", nil)
		if err != nil || status != http.StatusOK || json.Unmarshal(said, &box) != nil {
			continue // it starts, or is gone
		}
		for _, entry := range box {
			s.mu.Lock()
			s.seen[entry.ID] = true
			s.mu.Unlock()
			order := []string{"drop", "route?alias=desk@mycompany.com"}[rng.IntN(2)]
			status, said, err := s.ask(http.MethodPost, "/mail/unrouted/"+entry.ID+"/"+order, nil)
			s.mu.Lock()
			switch {
			case err != nil, status == http.StatusConflict:
			case status != http.StatusOK:
				s.t.Errorf("%s of %s: %d %s", order, entry.ID, status, said)
			case s.ended[entry.ID] != "":
				s.t.Errorf("%s was ended by %s and by %s", entry.ID, s.ended[entry.ID], order)
			default:
				s.ended[entry.ID] = order
			}
			s.mu.Unlock()
		}
	}
}

// send is one client: it sends until its connections break.
func (s *storm) send(rng *rand.Rand, over <-chan struct{}) {
	open := make(map[string]*session)
	for _, door := range []string{s.smtp, s.lmtp, s.submit} {
		c, err := s.open(door)
		if err != nil {
			return
		}
		defer c.close()
		open[door] = c
	}
	for s.sent.Add(1) <= maxPerLife {
		l, id := s.choose(rng)
		doors := []string{l.door}
		switch {
		case l.door != "":
		case rng.IntN(3) == 0: // two copies at once
			doors = []string{s.smtp, s.lmtp}
		default:
			doors = []string{[]string{s.smtp, s.lmtp}[rng.IntN(2)]}
		}
		var copies sync.WaitGroup
		var broken atomic.Bool
		for i, door := range doors {
			to := l.to
			if l.orTo != nil && (i > 0 || rng.IntN(2) == 0) {
				to = l.orTo
			}
			copies.Go(func() {
				final, err := open[door].hand(l.from, to, l.content(id, to))
				s.note(l, to, final)
				if err != nil {
					broken.Store(true)
				}
			})
		}
		if copies.Wait(); broken.Load() {
			return
		}
	}
	<-over
}

// note keeps what the gateway said about a copy, and compares it with what was
// to be said.
func (s *storm) note(l *letter, rcpts []string, final []answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, to := range rcpts {
		a, want := final[i], 250
		if a.code == 0 {
			l.unsure[to] = true
			continue
		}
		if l.places[to] == "" {
			want = 550
		}
		if a.code != want {
			s.t.Errorf("%s to %q: %s was answered %v, want %d", l.key, rcpts, to, a, want)
		}
		if a.code == 250 {
			_, id, _ := strings.Cut(a.text, " queued as ")
			l.acked[to] = append(l.acked[to], id)
			s.acks.Add(1)
		}
	}
}

// choose returns what is sent next, and under which id: a new mail, or one
// that was sent before.
func (s *storm) choose(rng *rand.Rand) (l *letter, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch dice := rng.IntN(100); {
	case dice < 25: // a copy
		if l = s.known(rng, func(l *letter) bool { return !l.once }); l != nil {
			return l, l.id
		}
	case dice < 30: // the catchall address knows it by its words alone
		if l = s.known(rng, func(l *letter) bool { return !l.quoted && len(l.to) == 1 && len(l.acked[catchall]) > 0 }); l != nil {
			l.shared = true
			return l, s.newID()
		}
	case dice < 38: // other content under a known id
		if old := s.known(rng, func(l *letter) bool { return !l.quoted && !l.once }); old != nil {
			old.shared = true
			l = s.write(rng, letter{id: old.id, from: old.from, to: old.to, orTo: old.orTo, answers: old.answers, machine: old.machine, shared: true})
			return l, l.id
		}
	case dice < 70: // an answer
		if old := s.known(rng, func(l *letter) bool { return !l.shared && len(l.acked) > 0 && l.thread() != "" }); old != nil {
			old.quoted = true
			to := [][]string{{catchall}, {catchall, "sales@mycompany.com"}, {"kept@mycompany.com"}, {"always@mycompany.com", catchall}}
			l = s.write(rng, letter{from: author(rng), to: to[rng.IntN(len(to))], answers: old, machine: rng.IntN(6) == 0})
			return l, l.id
		}
	}
	l = s.write(rng, s.fresh(rng))
	return l, l.id
}

// known returns a mail that was sent before, or nil.
func (s *storm) known(rng *rand.Rand, fits func(*letter) bool) *letter {
	const tries = 20
	for range min(tries, len(s.all)) {
		if l := s.all[rng.IntN(len(s.all))]; fits(l) {
			return l
		}
	}
	return nil
}

func author(rng *rand.Rand) string { return []string{anna, stranger, app}[rng.IntN(3)] }

// fresh returns a mail that answers nothing.
func (s *storm) fresh(rng *rand.Rand) letter {
	l := letter{from: author(rng), machine: rng.IntN(8) == 0}
	if rng.IntN(8) == 0 { // one thread by two aliases
		l.to, l.orTo = []string{"always@mycompany.com"}, []string{"also@mycompany.com"}
		return l
	}
	names := []string{"sales", "kept", "support", "always", "also", "catchall", "nobody"}
	if l.from == app {
		names = names[:2]
		if l.once = rng.IntN(3) == 0; l.once {
			l.to = append(l.to, fmt.Sprintf("out-%d@example.net", s.next.Add(1)))
		}
	}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+rng.IntN(min(3, len(names)))] {
		l.to = append(l.to, name+"@mycompany.com")
	}
	return l
}

func (s *storm) newID() string { return fmt.Sprintf("<%d@client.example>", s.next.Add(1)) }

// write completes a new letter and keeps it.
func (s *storm) write(rng *rand.Rand, l letter) *letter {
	l.key = "letter-" + strconv.FormatInt(s.next.Add(1), 10)
	if l.id == "" {
		l.id = s.newID()
	}
	size := rng.IntN(maxBody)
	if rng.IntN(20) == 0 {
		size = rng.IntN(maxLargeBody)
	}
	l.body = strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100)
	l.acked, l.unsure = make(map[string][]string), make(map[string]bool)
	l.foresee()
	if l.from == app {
		l.door = s.submit
	} else {
		l.divide(rng, s.smtp, s.lmtp)
	}
	s.all = append(s.all, &l)
	return &l
}
