// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"slices"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// finals are the handlers that decide about every recipient they get.
var finals = []string{"capture", "drop", "hold", "reject", "unrouted"}

// lintRoutes looks for steps of the written routes that mail does not get to.
func (a *App) lintRoutes() []finding {
	inbound := unreachable(mailflow.Inbound, a.config.Inbound[:len(a.Routes.Inbound)])
	return append(inbound, unreachable(mailflow.Outbound, a.config.Outbound[:len(a.Routes.Outbound)])...)
}

// unreachable finds a step of the written route that nothing can reach.
func unreachable(name mailflow.RouteName, route mailflow.Route) []finding {
	for i, step := range route {
		if len(step.Match) > 0 || i+1 == len(route) || !slices.Contains(finals, step.Name) {
			continue
		}
		return []finding{found(
			"a handler is never reached, the one before it takes everything",
			"give the one before it a matcher, or change their order",
			zap.String("route", string(name)), zap.String("handler", route[i+1].Name), zap.String("before", step.Name),
		)}
	}
	return nil
}

// lintInbound looks for what a written inbound route leaves out.
func (a *App) lintInbound() []finding {
	if a.Routes.Inbound == nil {
		return nil
	}
	var all []finding
	handlers := handlersIn(a.Routes.Inbound)
	if !slices.Contains(handlers, "dedupe") {
		all = append(all, found(
			"the inbound route has no dedupe, a mail that comes twice is taken twice",
			"write `dedupe` before what takes mail",
		))
	}
	if len(a.services.Aliases) > 0 && !slices.Contains(handlers, "aliases") {
		all = append(all, found(
			"the inbound route has no aliases, those that are configured open no threads",
			"write `aliases` behind `replies`",
		))
	}
	return all
}

// lintOutbound looks for what the outbound route leaves out.
func (a *App) lintOutbound() []finding {
	var all []finding
	behind := a.outbound[slices.Index(a.outbound, lastOutbound):] // withLast has put it there
	if !slices.Contains(behind, "rewrite_from") {
		all = append(all, found(
			"the outbound route has no rewrite_from behind choose_server, senders stay as they are",
			"write `rewrite_from` behind `choose_server`",
		))
	}
	if !slices.Contains(a.outbound, "limit") {
		all = append(all, found(
			"the outbound route has no limit, the limits of servers and domains do not hold",
			"write `limit` behind `choose_server`",
		))
	}
	signs := func(d mailflow.Domain) bool { return d.Signs }
	if slices.ContainsFunc(a.services.Domains, signs) && !slices.Contains(behind, "sign") {
		all = append(all, found(
			"the outbound route has no sign behind choose_server, mail leaves unsigned in spite of a DKIM key",
			"write `sign` behind `rewrite_from`",
		))
	}
	return all
}
