// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

type opener struct{}

func (opener) Identity() string { return "memory" }

func (opener) Open(context.Context) (mailflow.Store, error) { return memstore.Open(time.Now), nil }

func TestSuite(t *testing.T) {
	t.Parallel()
	mailflowtest.StoreSuite{
		Opener:   func(*testing.T) mailflow.StoreOpener { return opener{} },
		Volatile: true,
	}.Run(t)
}
