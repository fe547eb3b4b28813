// SPDX-License-Identifier: Apache-2.0

package mailapp

import "go.uber.org/zap"

// finding is something that loads, and that an operator should know.
type finding struct {
	message, nextStep string
	fields            []zap.Field
}

// found makes a finding; nextStep is what the operator can do.
func found(message, nextStep string, fields ...zap.Field) finding {
	return finding{message, nextStep, append(fields, zap.String("next_step", nextStep))}
}

// warn tells what lint found.
func (a *App) warn() {
	for _, f := range a.lint() {
		a.logger.Warn(f.message, f.fields...)
	}
	a.warnKeys()
}

// lint returns what an operator should know about the configuration. It looks
// at nothing else.
func (a *App) lint() []finding {
	var all []finding
	for _, look := range []func() []finding{
		a.lintServers, a.lintPorts, a.lintDoors, a.lintSenders, a.lintDomains, a.lintAliases, a.lintSigning, a.lintSecrets, a.lintRoutes, a.lintInbound, a.lintOutbound,
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
