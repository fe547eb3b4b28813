// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Routes are what decides about mail: steps that run in the written order.
type Routes struct {
	// What becomes of mail for us. `unrouted` is added at its end if it does
	// not stand there. Default: authenticate, dedupe, replies, aliases,
	// catchall, fallback, unrouted.
	Inbound []mailroute.Step `json:"inbound,omitzero"`

	// How mail that is submitted leaves. `choose_server` is added at its end if
	// it does not stand there. Default: classify, choose_server, rewrite_from,
	// limit, sign.
	Outbound []mailroute.Step `json:"outbound,omitzero"`
}

// The handlers that end a route: each decides about all that is left.
const (
	lastInbound  = "unrouted"
	lastOutbound = "choose_server"
)

// behaviors are whose answers can be given.
var behaviors = []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo}

// defaultInbound are the handlers of the inbound route that is not written:
// what is proven and new goes to the thread that it answers, else to that of
// its alias.
var defaultInbound = []string{"authenticate", "dedupe", "replies", "aliases", "catchall", "fallback", lastInbound}

// defaultOutbound are the handlers of the outbound route that is not written:
// those behind choose_server say how the mail leaves by the server.
var defaultOutbound = []string{"classify", lastOutbound, "rewrite_from", "limit", "sign"}

// provisionServices makes what decisions need to know: domains, servers,
// matchers and DNS.
func (a *App) provisionServices() (err error) {
	if err := oneOf("behavior", a.Behavior, behaviors...); err != nil {
		return err
	}
	a.services = &mailflow.Services{
		Hostname: a.config.Hostname,
		Behavior: cmp.Or(a.Behavior, mailflow.BehaviorDocumented),
	}
	if a.services.Domains, err = a.resolveDomains(); err != nil {
		return err
	}
	if err := a.provisionAliases(); err != nil {
		return err
	}
	a.config.Domains, a.config.Aliases = a.services.Domains, a.services.Aliases
	a.config.Behavior = a.services.Behavior
	if a.services.Servers, err = a.provisionServers(); err != nil {
		return err
	}
	if a.services.Resolver, err = a.loadResolver(); err != nil {
		return err
	}
	for _, s := range a.config.Servers {
		if err := a.serve(s.Transport); err != nil {
			return fmt.Errorf("outgoing %s: %w", s.Name, err)
		}
	}
	if a.services.Matchers, err = mailroute.LoadMatchers(a.ctx, a.MatchersRaw); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.services.Matchers)) {
		if err := mailroute.UseServices(a.services, a.services.Matchers[name]); err != nil {
			return fmt.Errorf("matcher @%s: %w", name, err)
		}
	}
	a.services.Purposes, err = a.resolvePurposes()
	return err
}

// serve gives a guest the services, if it wants them.
func (a *App) serve(guest any) error {
	if user, ok := guest.(mailflow.ServicesUser); ok {
		return user.UseServices(a.services)
	}
	return nil
}

// provisionRoutes loads and compiles both routes.
func (a *App) provisionRoutes() (err error) {
	inbound := withLast(a.Routes.Inbound, lastInbound)
	if a.Routes.Inbound == nil {
		inbound = stepsOf(defaultInbound)
	}
	if a.config.Inbound, err = a.compile(mailflow.Inbound, inbound); err != nil {
		return err
	}
	outbound := withLast(a.Routes.Outbound, lastOutbound)
	if a.Routes.Outbound == nil {
		outbound = stepsOf(defaultOutbound)
	}
	a.outbound = handlersIn(outbound)
	a.config.Outbound, err = a.compile(mailflow.Outbound, outbound)
	return err
}

// compile loads the handlers of a route and gives them the services.
func (a *App) compile(name mailflow.RouteName, steps []mailroute.Step) (mailflow.Route, error) {
	loaded, err := mailroute.LoadSteps(a.ctx, steps)
	if err != nil {
		return nil, fmt.Errorf("%s route: %w", name, err)
	}
	route, err := mailroute.Compile(a.services, name, loaded)
	if err != nil {
		return nil, fmt.Errorf("%s route: %w", name, err)
	}
	return route, nil
}

// withLast returns steps with the handler that ends them, which stands there
// without a condition already or is added.
func withLast(steps []mailroute.Step, last string) []mailroute.Step {
	if slices.ContainsFunc(steps, func(s mailroute.Step) bool { return len(s.Match) == 0 && handlerOf(s) == last }) {
		return steps
	}
	return append(slices.Clone(steps), stepsOf([]string{last})...)
}

// stepsOf returns steps that have these handlers, without options.
func stepsOf(handlers []string) []mailroute.Step {
	steps := make([]mailroute.Step, len(handlers))
	for i, name := range handlers {
		steps[i].HandleRaw = caddyconfig.JSON(map[string]string{"handler": name}, nil)
	}
	return steps
}

// handlersIn returns the names of the handlers of a route and of the routes
// inside of it, in the order in which they run.
func handlersIn(steps []mailroute.Step) []string {
	var names []string
	for _, s := range steps {
		names = append(names, handlerOf(s))
		var inner struct {
			Steps []mailroute.Step `json:"steps"`
		}
		if err := json.Unmarshal(s.HandleRaw, &inner); err == nil {
			names = append(names, handlersIn(inner.Steps)...)
		}
	}
	return names
}

// handlerOf returns the name of the step's handler; empty if it has none,
// which loading it will refuse.
func handlerOf(s mailroute.Step) string {
	var key struct {
		Handler string `json:"handler"`
	}
	if err := json.Unmarshal(s.HandleRaw, &key); err != nil {
		return ""
	}
	return key.Handler
}

// readRoute returns the reader of a route's block. What it defines of matchers
// goes to defs.
func readRoute(steps *[]mailroute.Step, defs *mailroute.Definitions) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		read, err := mailroute.ParseSteps(d, defs)
		if err != nil {
			return err
		}
		// An empty block is a route too: it is not the default one.
		*steps = append([]mailroute.Step{}, read...)
		return nil
	})
}
