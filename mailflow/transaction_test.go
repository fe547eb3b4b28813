// SPDX-License-Identifier: Apache-2.0

package mailflow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func address(local string) mailflow.Address { return mailflow.MustParseAddress(local + "@x.example") }

func TestTransactionDecides(t *testing.T) {
	t.Parallel()
	tx := newTx()
	fact := mailflow.Fact{Kind: mailflow.FactAbsent, Key: mailflow.FactKey("seen", "x", "y")}
	if fact.Key != "seen\x00x\x00y" {
		t.Errorf("the key is %q", fact.Key)
	}
	if err := tx.Claim(address("A"), mailflow.Capture{Reason: "r"}, fact); err != nil {
		t.Fatal(err)
	}
	if err := tx.Refuse(address("b"), refusal); err != nil {
		t.Fatal(err)
	}
	if got := sees(tx); got != "c" {
		t.Errorf("pending are %s", got)
	}
	for _, err := range []error{
		tx.Claim(address("a"), mailflow.Drop{}), tx.Claim(address("b"), mailflow.Drop{}), tx.Claim(address("d"), mailflow.Drop{}),
		tx.Refuse(address("a"), refusal), tx.Refuse(address("d"), refusal),
	} {
		if !errors.Is(err, mailflow.ErrNotPending) {
			t.Errorf("decided twice: %v", err)
		}
	}
	tx.RefuseAll(&mailflow.Reply{Code: 451})
	tx.ClaimAll(mailflow.Drop{})
	if got := state(tx); got != "a=capture: r/ b=550 no/ c=451/" {
		t.Error(got)
	}
	action, facts, err := tx.Overturn(address("a"))
	if err != nil || action != (mailflow.Capture{Reason: "r"}) || len(facts) != 1 || facts[0] != fact {
		t.Errorf("overturned %v, %v, %v", action, facts, err)
	}
	for _, local := range []string{"a", "b", "d"} { // pending, refused, unknown
		if _, _, err := tx.Overturn(address(local)); !errors.Is(err, mailflow.ErrNotPending) {
			t.Errorf("overturning %s: %v", local, err)
		}
	}
	if v := tx.Verdicts()[0]; v.Action != nil || v.Facts != nil || v.By != "" {
		t.Errorf("left of the claim: %+v", v)
	}
}

// TestTransactionScope holds a handler to its scope, whatever it tries.
func TestTransactionScope(t *testing.T) {
	t.Parallel()
	tx := newTx()
	tries := handler(func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
		for _, err := range []error{
			tx.Claim(address("a"), mailflow.Drop{}), tx.Refuse(address("a"), refusal),
			func() error { _, _, err := tx.Overturn(address("c")); return err }(),
		} {
			if !errors.Is(err, mailflow.ErrNotPending) {
				t.Errorf("out of scope: %v", err)
			}
		}
		tx.ClaimAll(mailflow.Drop{Reason: "mine"})
		return nil
	})
	route := mailflow.Route{step("first", claim("first"), only("c")), step("tries", tries, only("b"))}
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	if got := state(tx); got != "a b=drop: mine/tries c=drop: first/first" {
		t.Error(got)
	}
}

func TestTransactionMarks(t *testing.T) {
	t.Parallel()
	tx := newTx()
	if tx.Sender() != tx.Envelope.From || tx.Tags() != nil {
		t.Error("a new transaction has marks")
	}
	tx.SetSender(mailflow.Address{})
	tx.Tag("k", "1")
	tx.Tag("k", "2")
	tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderAdd, Name: "A"})
	tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderRemove, Name: "B"})
	if !tx.Sender().IsNull() || tx.Envelope.From.IsNull() || tx.Tags()["k"] != "2" || fmt.Sprint(tx.HeaderChanges()) != "[{add A } {remove B }]" {
		t.Errorf("%v %v %v", tx.Sender(), tx.Tags(), tx.HeaderChanges())
	}
}

func TestTraceSummary(t *testing.T) {
	t.Parallel()
	var tr mailflow.Trace
	if tr.Summary() != "1" {
		t.Errorf("an empty trace is %q", tr.Summary())
	}
	tr.Note("looked_at", "x")
	tr.Won("taken", "y")
	if tr.Summary() != "1 taken" || len(tr.Notes()) != 2 {
		t.Errorf("the trace is %q", tr.Summary())
	}
	for range mailflow.MaxTraceBytes {
		tr.Won("again", "")
	}
	if s := tr.Summary(); len(s) > mailflow.MaxTraceBytes || !strings.HasSuffix(s, " again") {
		t.Errorf("a long trace has %d bytes", len(s))
	}
}

// TestActionKeys tells every two actions apart that do different things.
func TestActionKeys(t *testing.T) {
	t.Parallel()
	actions := []mailflow.Action{
		mailflow.Deliver{},
		mailflow.Deliver{Server: "a"},
		mailflow.Deliver{Destination: "a"},
		mailflow.Deliver{Hold: "a"},
		mailflow.Deliver{Server: "a", Hold: "b"},
		mailflow.Capture{},
		mailflow.Capture{Reason: "a"},
		mailflow.Unroute{},
		mailflow.Unroute{Reason: "a"},
		mailflow.Drop{},
		mailflow.Drop{Reason: "a"},
	}
	seen := make(map[string]mailflow.Action)
	for _, a := range actions {
		if b, ok := seen[a.Key()]; ok {
			t.Errorf("%#v and %#v have one key", a, b)
		}
		seen[a.Key()] = a
		if a.String() == "" {
			t.Errorf("%#v says nothing", a)
		}
	}
}

func TestDeliveryClone(t *testing.T) {
	t.Parallel()
	d := &mailflow.Delivery{
		ID: "1", Envelope: mailflow.Envelope{Recipients: []mailflow.Recipient{{Address: address("a")}}},
		Header: []mailflow.HeaderChange{{Name: "A"}},
	}
	c := d.Clone()
	c.Envelope.Recipients[0].Address = address("b")
	c.Header[0].Name = "B"
	if d.Envelope.Recipients[0].Address != address("a") || d.Header[0].Name != "A" || c.ID != "1" {
		t.Error("the clone shares what it changes")
	}
}

func TestStaleError(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("committing: %w", &mailflow.StaleError{Fact: mailflow.Fact{Kind: mailflow.FactBelow, Key: "k"}})
	if !errors.Is(err, mailflow.ErrStale) || !strings.Contains(err.Error(), `below "k"`) {
		t.Error(err)
	}
}
