// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// engines holds the process's engine while a configuration uses it.
var engines = caddy.NewUsagePool()

// engineKey is the engine's key in the pool: there is one for the process.
const engineKey = "mail"

// pooledEngine is the engine as the pool keeps it.
type pooledEngine struct{ *engine.Engine }

// Destruct implements [caddy.Destructor].
func (e pooledEngine) Destruct() error {
	e.Close()
	return nil
}

// acquireEngine returns the process's engine. Each call is answered by one of
// releaseEngine.
func acquireEngine() (*engine.Engine, error) {
	e, _, err := engines.LoadOrNew(engineKey, func() (caddy.Destructor, error) {
		return pooledEngine{engine.New(engine.Options{Now: time.Now})}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("making the mail engine: %w", err)
	}
	return e.(pooledEngine).Engine, nil
}

// releaseEngine lets go of what acquireEngine returned.
func releaseEngine() error {
	_, err := engines.Delete(engineKey)
	return err
}

// Live returns the engine of the configuration that runs now. It is asked for
// each request and never kept, since the next load may bring another app.
// Error: [engine.ErrNotRunning].
func Live() (*engine.Engine, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("mail")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil, engine.ErrNotRunning
	case err != nil:
		return nil, err
	}
	a, ok := app.(*App)
	if !ok || a.engine == nil {
		return nil, engine.ErrNotRunning
	}
	return a.engine, nil
}
