// SPDX-License-Identifier: Apache-2.0

// Package mailapp is the Caddy app `mail`: its JSON, its block in the
// Caddyfile, and its life.
//
// The app owns nothing that outlives a configuration. Provision loads the
// guest modules, hands them [mailflow.Services], compiles the routes, and
// checks all of it; it touches nothing outside, so `caddy validate` may run
// beside a server. Start gives the result as an [engine.Config] to the engine,
// which is one for the process and stays when a configuration goes; Stop takes
// that generation away again.
//
// # JSON
//
// Keys are the names of the Caddyfile options. What has a name stands in a map
// under it (domains, aliases, outgoing, listeners, matchers), so that the path
// of a PATCH does not change when a neighbour comes or goes; only routes are
// lists, since their order is their meaning. No map key holds a slash.
//
// Aliases stand in the store too, with contacts and threads: the admin API and
// the commands change them while the gateway runs. An alias of the
// configuration hides the one of the store.
//
// # Caddyfile
//
// The `mail` block may stand in several pieces; they add up. A value that can
// be had only once is refused the second time, also when the pieces are far
// apart. See [parseMail] for the syntax.
//
// # Warnings
//
// What cannot be right is refused. What loads and is perhaps not meant is told
// as a warning, at validate and at each load: servers that only their names
// tell apart, a default_from that nobody carries, secrets in clear text, and
// so on. Each warning is a constant phrase with the next step in a field.
//
// # Placeholders
//
// Names, addresses and filters take the global placeholders ({env.X},
// {file./path}). They are replaced when the configuration is provisioned, and
// one that has no value is refused. Secrets are the business of the modules
// that use them.
package mailapp
