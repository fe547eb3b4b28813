// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// opener opens the store in a directory.
type opener string

func (o opener) Identity() string { return "sqlite " + string(o) }

func (o opener) Open(ctx context.Context) (mailflow.Store, error) {
	return Open(ctx, Options{Dir: string(o), Now: time.Now})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	mailflowtest.RunStoreSuite(t, func(t *testing.T) mailflow.StoreOpener {
		t.Helper()
		return opener(t.TempDir())
	})
}
