// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the mail gateway: it takes mail in through its listeners, decides by
// its routes what becomes of it, and sends it by its outgoing servers.
type App struct {
	// The gateway's own name, in greetings, trace fields and reports. It
	// should be the name that the address resolves to, and back.
	// Default: the name of the machine.
	Hostname string `json:"hostname,omitempty"`

	// How long transactions and attempts that are under way may go on when the
	// process ends. A reload never cuts them off. Default: 1m.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// Whose answer is given where the documentation of Odoo's mail gateway and
	// its code differ: "documented" or "odoo". Default: documented.
	Behavior mailflow.Behavior `json:"behavior,omitempty"`

	// Where messages, queue and state are kept. It cannot be changed by a
	// reload while the present store holds undelivered mail.
	// Default: sqlite in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=mail.stores inline_key=module"`

	// Our domains by name. Without any no mail is ours and senders stay as
	// they are. Default: none.
	Domains map[string]*Domain `json:"domains,omitempty"`

	// The addresses that open threads. The store has others, which are changed
	// at run time. Default: none.
	Aliases map[string]*Alias `json:"aliases,omitempty"`

	// The outgoing servers by name. Without any, everything that is sent is
	// captured: kept and shown, never sent. Default: none.
	Outgoing map[string]*Outgoing `json:"outgoing,omitempty"`

	// The doors that mail comes in by, by name. Default: none.
	ListenersRaw map[string]json.RawMessage `json:"listeners,omitempty" caddy:"namespace=mail.listeners inline_key=protocol"`

	// Named conditions, for the steps of routes. All members of one must hold.
	// Default: none.
	MatchersRaw map[string]caddy.ModuleMap `json:"matchers,omitempty" caddy:"namespace=mail.matchers"`

	// Which mail has which purpose when neither the application nor the user
	// says so; the first that holds counts. Default: all mail is
	// transactional.
	Purpose []Purpose `json:"purpose,omitempty"`

	// What decides about mail. Default: the default routes.
	Routes Routes `json:"routes,omitzero"`

	// How names are looked up. Default: as the machine does.
	DNS DNS `json:"dns,omitzero"`

	// When deliveries are tried. Default: the fields' defaults.
	Queue Queue `json:"queue,omitzero"`

	// How long what is over is kept. Default: the fields' defaults.
	Retention Retention `json:"retention,omitzero"`

	ctx       caddy.Context
	logger    *zap.Logger
	listeners map[string]any // loaded, by name
	outbound  []string       // handlers of the outbound route, those inside of others too
	// storeInClear are options of the store whose secret is written out.
	storeInClear []string
	services     *mailflow.Services
	config       *engine.Config
	observers    []func(engine.Event)
	engine       *engine.Engine
	generation   *engine.Generation

	certificates certificates
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail", New: func() caddy.Module { return new(App) }}
}

// Provision loads the guests, gives them their services and makes the engine's
// configuration of everything.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.config = &engine.Config{
		Grace:     orDefault(a.GracePeriod, engine.DefaultGrace),
		Queue:     a.Queue.policy(),
		Retention: a.Retention.periods(),
		Logger:    a.logger,
		Observe:   a.observe,
	}
	for _, step := range []func() error{
		a.provisionHostname, a.provisionStore, a.loadListeners,
		a.provisionServices, a.provisionSigners, a.provisionRoutes, a.provisionDoors,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return a.provisionObservers(ctx)
}

// Validate checks what Provision does not need to know, and warns of what
// loads and is perhaps not meant.
func (a *App) Validate() error {
	if a.GracePeriod < 0 {
		return errors.New("grace_period is negative")
	}
	if err := a.Queue.validate(); err != nil {
		return err
	}
	if err := a.Retention.validate(a.config.Queue.GiveUp); err != nil {
		return err
	}
	a.warn()
	return nil
}

// Start makes this configuration the one that serves. It leaves nothing behind
// if it fails.
func (a *App) Start() error {
	if err := a.startTLS(); err != nil {
		return err
	}
	eng, err := acquireEngine()
	if err != nil {
		return err
	}
	gen, err := eng.Prepare(a.ctx, a.config)
	if err != nil {
		return errors.Join(fmt.Errorf("starting the mail app: %w", err), releaseEngine())
	}
	eng.Activate(gen)
	a.engine, a.generation = eng, gen
	return nil
}

// Stop takes this configuration away. What is under way goes on in the
// background, unless the process ends: then Stop waits for it as long as the
// grace period.
func (a *App) Stop() error {
	if a.generation == nil {
		return nil
	}
	if caddy.Exiting() {
		a.generation.Drain()
		a.stopObservers()
		return releaseEngine()
	}
	a.generation.Retire()
	// The engine is let go of only when it has nothing left to do, so that a
	// configuration that comes meanwhile finds the same one.
	go func() {
		a.engine.Close()
		if err := releaseEngine(); err != nil {
			a.logger.Error("closing the mail engine", zap.Error(err))
		}
	}()
	return nil
}

// observe tells everybody who watches of a mail event.
func (a *App) observe(ev engine.Event) {
	for _, tell := range a.observers {
		tell(ev)
	}
}

// provisionHostname finds the gateway's name.
func (a *App) provisionHostname() error {
	name, err := expand(a.Hostname)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if name != "" {
		if a.config.Hostname, err = mailflow.NormalizeDomain(name); err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
		return nil
	}
	a.config.Hostname = defaultHostname()
	return nil
}

// defaultHostname returns the machine's name as far as it can stand in SMTP.
func defaultHostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	if name, err = mailflow.NormalizeDomain(name); err != nil {
		return "localhost"
	}
	return name
}

// provisionStore loads the store, without opening it.
func (a *App) provisionStore() error {
	if len(a.StoreRaw) == 0 {
		a.StoreRaw = json.RawMessage(`{"module":"sqlite"}`)
	}
	a.storeInClear = secretsInClear(a.StoreRaw)
	guest, err := a.ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the mail store: %w", err)
	}
	opener, ok := guest.(mailflow.StoreOpener)
	if !ok {
		return fmt.Errorf("%T is not a mail store", guest)
	}
	a.config.Store = opener
	return nil
}

// orDefault returns d, or the default if it is not set.
func orDefault(d caddy.Duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// expand replaces the placeholders of s. One without a value is an error.
func expand(s string) (string, error) {
	return caddy.NewReplacer().ReplaceOrErr(s, true, true)
}

// Interface guards.
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)
