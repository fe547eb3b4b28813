// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// collected is a mailbox of ours.
func collected() *mailflow.Peer {
	return &mailflow.Peer{
		Listener: "gmail", Protocol: "IMAP", Fetched: true, At: time.Now(),
		Mailbox: mailflow.MustParseAddress("me@provider.example"),
	}
}

// TestFetchedIsAddressed finds whom a message is for that has no envelope.
func TestFetchedIsAddressed(t *testing.T) {
	t.Parallel()
	var got []string
	b := newBench(t, func(cfg *Config) {
		cfg.Aliases = []mailflow.Alias{{Address: mailflow.MustParseAddress("help@mycompany.com"), AnyDomain: true}}
		cfg.Inbound = mailflow.Route{{Name: "look", Handler: handle(func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			got = nil
			for _, r := range tx.Pending() {
				got = append(got, r.Address.String())
			}
			got = append(got, "from "+tx.Envelope.From.String())
			tx.ClaimAll(mailflow.Drop{Reason: "seen"})
			return nil
		})}}
	})
	for name, c := range map[string]struct{ header, want string }{
		"by To and Cc":          {"To: a@mycompany.com, x@world.example\r\nCc: B <b@mycompany.com>, A@mycompany.com", "a@mycompany.com b@mycompany.com from "},
		"by the last server":    {"Delivered-To: info@mycompany.com\r\nTo: a@mycompany.com", "info@mycompany.com from "},
		"not by what is not us": {"Delivered-To: me@provider.example\r\nTo: a@mycompany.com", "a@mycompany.com from "},
		"by an alias":           {"To: help@elsewhere.example", "help@elsewhere.example from "},
		"by nothing":            {"To: undisclosed-recipients:;\r\nReturn-Path: <nora@unknown.example>", "me@provider.example from nora@unknown.example"},
	} {
		rs, err := b.offer(collected(), "", c.header+"\r\nFrom: nora@unknown.example\r\n\r\nHi\r\n")
		if err != nil || len(rs) == 0 {
			t.Fatalf("%s: %v, %v", name, rs, err)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// TestFetchedIsRefusedByMail tells a proven sender once what is refused, and
// keeps the rest for an operator.
func TestFetchedIsRefusedByMail(t *testing.T) {
	t.Parallel()
	refuse := &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 7, 1}, Text: "Not for you", Help: "Please register first."}
	b := newBench(t, func(cfg *Config) {
		cfg.Inbound = mailflow.Route{{Name: "look", Handler: handle(func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			if strings.HasPrefix(tx.Message.Header.Get("Subject"), "proven") {
				tx.Auth = []mailflow.AuthResult{{Method: "dmarc", Result: "pass", Domain: "unknown.example", By: "provider.example"}}
			}
			if strings.Contains(tx.Message.Header.Get("Subject"), "later") {
				tx.RefuseAll(mailflow.ReplyTryLater)
			}
			tx.RefuseAll(refuse)
			return nil
		})}}
	})
	fetch := func(subject string) ([]*mailflow.Reply, error) {
		return b.offer(collected(), "", "From: Nora <nora@unknown.example>\r\nTo: support@mycompany.com\r\nMessage-Id: <1@unknown.example>\r\nSubject: "+subject+"\r\n\r\nHi\r\n")
	}
	if _, err := fetch("later"); err == nil || mailflow.AsReply(err).Code != 451 {
		t.Errorf("what is refused for now: %v; it has to stay in its mailbox", err)
	}
	for _, subject := range []string{"unproven", "proven", "proven again"} {
		if rs, err := fetch(subject); err != nil || len(rs) != 1 {
			t.Fatalf("%s: %v, %v", subject, rs, err)
		}
	}
	await(t, "the refusal", func() bool { return len(b.relay.taken()) == 1 })
	got := b.relay.taken()[0]
	if e := got.delivery.Envelope; !e.From.IsNull() || e.Recipients[0].Address.String() != "nora@unknown.example" {
		t.Errorf("the envelope: %+v", e)
	}
	for _, part := range []string{
		"Auto-Submitted: auto-replied", "In-Reply-To: <1@unknown.example>", "loop-detection", "Please register first.",
		"for support@mycompany.com", "Subject: Re: proven",
	} {
		if !strings.Contains(got.bytes, part) {
			t.Errorf("no %q in:\n%s", part, got.bytes)
		}
	}
	if got.delivery.Lane == "" {
		t.Error("the refusal has no lane")
	}
	box, err := b.store.Unrouted(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	var why []string
	for _, u := range slices.Backward(box) {
		_, reason, _ := strings.Cut(u.Reason, "is not told: ")
		why = append(why, reason)
	}
	if want := []string{"the sender is neither proven nor known", "a refusal was sent to it within the hour"}; !slices.Equal(why, want) {
		t.Errorf("the unrouted box: %q, want %q", why, want)
	}
}
