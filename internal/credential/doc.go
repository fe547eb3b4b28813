// SPDX-License-Identifier: Apache-2.0

// Package credential is what modules that log in somewhere have in their
// configuration: secrets, and accounts of OAuth2. Outgoing servers and fetch
// loops share it.
//
// A [Secret] shows itself nowhere but in the configuration, where it should be
// a placeholder. [Resolve] replaces placeholders at each use.
//
// An [OAuth2] stands in an auth line:
//
//	auth oauth2 google {
//		client {env.G_CLIENT}
//		secret {file./run/secrets/g}
//		user   me@mycompany.com
//	}
//
// Its module calls [OAuth2.ReadBlock] for the Caddyfile, [OAuth2.SetUp] in
// Provision, [OAuth2.Validate], and [OAuth2.UseValues] when it gets the values
// of the store; then [OAuth2.Token] is what a login needs. A module that
// implements [OAuth2User] can be logged in by `mailcaddy mail oauth login`.
package credential
