// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// bouncing lets each recipient bounce to an address of its own.
func bouncing(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	tx.Purpose = mailflow.PurposeMass
	tx.SetSender(mailflow.MustParseAddress("bounce@mycompany.com"))
	tx.Sending.PerRecipient, tx.Sending.Limited, tx.Sending.SignAs = true, true, "mycompany.com"
	tx.ClaimAll(mailflow.Deliver{Server: "relay"})
	return nil
}

// TestEachRecipientBouncesApart follows two recipients of one message to the
// far end: each has a delivery and a signed reverse-path, that names it.
func TestEachRecipientBouncesApart(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) { cfg.Outbound = mailflow.Route{{Name: "bouncing", Handler: handle(bouncing)}} })
	b.accept("bob@example.net", "eve@example.org")
	await(t, "both deliveries", func() bool { return len(b.relay.taken()) == 2 })

	seen := make(map[string]bool)
	for _, s := range b.relay.taken() {
		d := s.delivery
		if len(d.Envelope.Recipients) != 1 || d.Purpose != mailflow.PurposeMass || !d.Limited || d.SignAs != "mycompany.com" {
			t.Errorf("the delivery: %+v", d)
		}
		name, tok, ok := strings.Cut(d.Envelope.From.Local, "+")
		if !ok || name != "bounce" || len(d.Envelope.From.Local) > 64 {
			t.Errorf("sent from %s", d.Envelope.From)
		}
		if id, ok := b.gen.store.tokenKeys().Verify(mailflow.TokenDelivery, tok); !ok || id != d.ID {
			t.Errorf("the token of %s names %q, %v", d.ID, id, ok)
		}
		seen[d.Envelope.From.Local] = true
	}
	if len(seen) != 2 {
		t.Errorf("reverse-paths: %v", seen)
	}
	// What comes back to such an address is ours, whoever brings it.
	route, err := b.gen.routeOf(t.Context(), b.store, stranger(), mailflow.MustParseAddress("catchall+x1@mycompany.com"))
	if err != nil || route != mailflow.Inbound {
		t.Errorf("an address with a token goes to %q, %v", route, err)
	}
}

// TestRechosenKeepsItsToken decides once more about a delivery with a token.
func TestRechosenKeepsItsToken(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) { cfg.Outbound = mailflow.Route{{Name: "bouncing", Handler: handle(bouncing)}} })
	b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, 451), nil }
	b.accept("bob@example.net")
	await(t, "the first attempt", func() bool { return slices.Equal(b.states(), []string{"deferred bob@example.net"}) })
	before := b.relay.taken()[0].delivery

	cfg := b.config()
	other := &farEnd{}
	cfg.Servers = map[string]*Server{"new": {Server: mailflow.Server{Name: "new"}, Transport: other}}
	cfg.Outbound = mailflow.Route{{Name: "bouncing", Handler: handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
		if !tx.Again {
			t.Error("not told that it is decided once more")
		}
		if tx.AddRecipient(mailflow.Recipient{Address: mailflow.MustParseAddress("copy@example.net")}) {
			t.Error("a copy is added once more")
		}
		tx.SetSender(mailflow.MustParseAddress("bounce@mycompany.com"))
		tx.Sending.PerRecipient = true
		tx.ClaimAll(mailflow.Deliver{Server: "new"})
		return nil
	})}}
	old := b.gen
	b.gen = b.load(cfg)
	old.Retire()
	if err := b.engine.Act(t.Context(), before.ID, mailflow.QueueAct{Kind: mailflow.ActRetry}); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery by the other server", func() bool { return len(other.taken()) == 1 })
	after := other.taken()[0].delivery
	if after.ID != before.ID || after.Envelope.From != before.Envelope.From || after.Limited || after.SignAs != "" {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
}

// TestReloadFailsNothing has a new configuration refuse mail that waits to be
// sent: it is held.
func TestReloadFailsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, 451), nil }
	b.accept("bob@example.net")
	await(t, "the first attempt", func() bool { return slices.Equal(b.states(), []string{"deferred bob@example.net"}) })

	cfg := b.config()
	cfg.Servers = map[string]*Server{"new": {Server: mailflow.Server{Name: "new"}, Transport: &farEnd{}}}
	cfg.Outbound = mailflow.Route{{Name: "reject", Handler: handle(func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
		tx.RefuseAll(mailflow.ReplyUnknownRecipient)
		return nil
	})}}
	old := b.gen
	b.gen = b.load(cfg)
	old.Retire()
	if err := b.engine.Act(t.Context(), b.relay.taken()[0].delivery.ID, mailflow.QueueAct{Kind: mailflow.ActRetry}); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery is held", func() bool { return slices.Equal(b.states(), []string{"held bob@example.net"}) })
}

// TestNobodySendsAsAnother refuses a mail in the name of another of our
// domains, whatever the route does.
func TestNobodySendsAsAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(cfg *Config) {
		cfg.Domains = append(cfg.Domains, mailflow.Domain{Name: "second.example"})
	})
	app := submitter()
	app.Domain = "mycompany.com"
	for from, want := range map[string]int{
		"anna@mycompany.com":                       250,
		"mary@customer.example":                    250,
		"boss@second.example":                      550,
		"anna@mycompany.com, boss@second.example":  550,
		`"boss@second.example" <a@mycompany.com>`:  250,
		"=?utf-8?q?Bo=C3=9F?= <bo@SECOND.example>": 550,
	} {
		rs, err := b.offer(app, "anna@mycompany.com", "From: "+from+"\r\n\r\nHi\r\n", "bob@example.net")
		if err != nil || rs[0].Code != want {
			t.Errorf("%s: %v, %v; want %d", from, rs, err, want)
		}
	}
	anybody := submitter()
	anybody.FromFilter = []string{"*"}
	if rs, err := b.offer(anybody, "", "From: boss@second.example\r\n\r\nHi\r\n", "bob@example.net"); err != nil || rs[0].Code != 250 {
		t.Errorf("who may send as anybody: %v, %v", rs, err)
	}
}

// TestMintedIDIsSigned gives a message without Message-Id one that is known
// again.
func TestMintedIDIsSigned(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.accept("bob@example.net")
	await(t, "the delivery", func() bool { return len(b.relay.taken()) == 1 })
	m := regexp.MustCompile(`(?m)^Message-Id: <([^@]+)@mx\.mycompany\.com>`).FindStringSubmatch(b.relay.taken()[0].bytes)
	if m == nil {
		t.Fatalf("no Message-Id in:\n%s", b.relay.taken()[0].bytes)
	}
	if id, ok := b.gen.store.tokenKeys().Verify(mailflow.TokenMessage, m[1]); !ok || id != b.relay.taken()[0].delivery.Message {
		t.Errorf("%s names %q, %v", m[1], id, ok)
	}
}

// TestKeysOutliveTheStore has tokens of one opening known at the next.
func TestKeysOutliveTheStore(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	first := b.gen.store.tokenKeys()
	tok := first.Sign(mailflow.TokenThread, "t1")
	again := &openStore{Store: b.store}
	if err := again.refreshKeys(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if id, ok := again.tokenKeys().Verify(mailflow.TokenThread, tok); !ok || id != "t1" {
		t.Errorf("the token names %q, %v", id, ok)
	}
	later := time.Now().Add(200 * 24 * time.Hour)
	if err := again.refreshKeys(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.tokenKeys().Verify(mailflow.TokenThread, tok); !ok || len(again.tokenKeys()) != 2 {
		t.Errorf("after the rotation: %v, %d keys", ok, len(again.tokenKeys()))
	}
	if err := b.store.SetValue(t.Context(), "token-keys", []byte("no keys"), 2); err != nil {
		t.Fatal(err)
	}
	if err := again.refreshKeys(t.Context(), later); err == nil {
		t.Error("broken keys are taken")
	}
}
