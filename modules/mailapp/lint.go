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

// finals are the handlers that decide about every recipient they get.
var finals = []string{"capture", "choose_server", "drop", "hold", "reject", "unrouted"}

// lint returns what an operator should know about the configuration.
func (a *App) lint() []finding {
	var found []finding
	if len(a.config.Servers) == 0 {
		found = append(found, finding{
			"no outgoing server is configured, everything that is sent is captured",
			[]zap.Field{zap.String("next_step", "add an outgoing block with `via smtp HOST:PORT`")},
		})
	}
	if len(a.config.Doors) == 0 {
		found = append(found, finding{
			"no listener is configured, no mail comes in",
			[]zap.Field{zap.String("next_step", "add `smtp 127.0.0.1:2525` or `smtp :25`")},
		})
	}
	found = append(found, unreachable(mailflow.Inbound, a.config.Inbound[:len(a.Routes.Inbound)])...)
	return append(found, unreachable(mailflow.Outbound, a.config.Outbound[:len(a.Routes.Outbound)])...)
}

// unreachable finds a step of the written route that nothing can reach.
func unreachable(name mailflow.RouteName, route mailflow.Route) []finding {
	for i, step := range route {
		if len(step.Match) > 0 || i+1 == len(route) || !slices.Contains(finals, step.Name) {
			continue
		}
		return []finding{{
			"a handler is never reached, the one before it takes everything",
			[]zap.Field{
				zap.String("route", string(name)), zap.String("handler", route[i+1].Name), zap.String("before", step.Name),
				zap.String("next_step", "give the one before it a matcher, or change their order"),
			},
		}}
	}
	return nil
}
