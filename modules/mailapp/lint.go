// SPDX-License-Identifier: Apache-2.0

package mailapp

import "go.uber.org/zap"

// finding is something that loads, and that an operator should know.
type finding struct {
	message string
	fields  []zap.Field
}

// lint returns what an operator should know about the configuration.
func (a *App) lint() []finding {
	var found []finding
	add := func(message string, fields ...zap.Field) {
		found = append(found, finding{message, fields})
	}
	if len(a.config.Servers) == 0 {
		add("no outgoing server is configured, everything that is sent is captured",
			zap.String("next_step", "add an outgoing block with `via smtp HOST:PORT`"))
	}
	if len(a.config.Doors) == 0 {
		add("no listener is configured, no mail comes in",
			zap.String("next_step", "add `smtp 127.0.0.1:2525` or `smtp :25`"))
	}
	return found
}
