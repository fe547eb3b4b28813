// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// memory opens a store that is empty.
type memory struct{}

func (memory) Identity() string { return "memory" }

func (memory) Open(context.Context) (mailflow.Store, error) { return memstore.Open(time.Now), nil }

// keeps is a guest that keeps values.
type keeps struct{ mailflow.Values }

func (k *keeps) UseValues(v mailflow.Values) { k.Values = v }

// TestValues hands values to a guest before there is a store, and goes on with
// them over a reload. The engine is one for the process, so that this test
// takes turns with others that use it.
func TestValues(t *testing.T) {
	var guest keeps
	giveValues(&guest)
	giveValues(struct{}{}) // keeps none
	ctx := t.Context()
	early := func(when string) {
		t.Helper()
		_, _, err := guest.Value(ctx, "k")
		if err2 := guest.SetValue(ctx, "k", nil, 0); !errors.Is(err, errNoValues) || !errors.Is(err2, errNoValues) {
			t.Errorf("%s: %v, %v", when, err, err2)
		}
	}
	early("before the engine")
	eng, err := acquireEngine()
	if err != nil {
		t.Fatal(err)
	}
	early("before the store")
	start := func() *engine.Generation {
		t.Helper()
		g, err := eng.Prepare(ctx, &engine.Config{Store: memory{}, Queue: engine.QueuePolicy{Concurrency: 1}})
		if err != nil {
			t.Fatal(err)
		}
		eng.Activate(g) //nolint:contextcheck // what it starts outlives every context
		return g
	}
	first := start()
	if _, _, err := guest.Value(ctx, "k"); !errors.Is(err, mailflow.ErrNoRecord) {
		t.Errorf("nothing is kept: %v", err)
	}
	if err := guest.SetValue(ctx, "k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	second := start()
	first.Retire()
	eng.Close()
	if v, version, err := guest.Value(ctx, "k"); string(v) != "v" || err != nil {
		t.Errorf("after a reload: %q, %v", v, err)
	} else if err := guest.SetValue(ctx, "k", []byte("w"), version); err != nil {
		t.Error(err)
	}
	if err := guest.SetValue(ctx, "k", []byte("x"), 1); !errors.Is(err, mailflow.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	second.Retire()
	eng.Close()
	if err := releaseEngine(); err != nil {
		t.Fatal(err)
	}
	early("after the end")
}
