// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"slices"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// finding is something that loads, and that an operator should know.
type finding struct {
	message string
	fields  []zap.Field
}

// found makes a finding; nextStep is what the operator can do.
func found(message, nextStep string, fields ...zap.Field) finding {
	return finding{message, append(fields, zap.String("next_step", nextStep))}
}

// warn tells what lint found.
func (a *App) warn() {
	for _, f := range a.lint() {
		a.logger.Warn(f.message, f.fields...)
	}
}

// lint returns what an operator should know about the configuration. It looks
// at nothing else.
func (a *App) lint() []finding {
	var all []finding
	for _, look := range []func() []finding{
		a.lintServers, a.lintPorts, a.lintDoors, a.lintSenders, a.lintDomains, a.lintSigning, a.lintSecrets, a.lintRoutes,
	} {
		all = append(all, look()...)
	}
	return all
}

// lintDoors looks at the listeners.
func (a *App) lintDoors() []finding {
	if len(a.config.Doors) > 0 {
		return nil
	}
	return []finding{found(
		"no listener is configured, no mail comes in",
		"add `smtp 127.0.0.1:2525` or `smtp :25`",
	)}
}

// finals are the handlers that decide about every recipient they get.
var finals = []string{"capture", "choose_server", "drop", "hold", "reject", "unrouted"}

// lintRoutes looks at the written routes.
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
