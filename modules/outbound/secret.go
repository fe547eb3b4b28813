// SPDX-License-Identifier: Apache-2.0

package outbound

import "github.com/mailcaddy/mailcaddy/internal/credential"

// hidden is what a [Secret] shows.
const hidden = credential.Hidden

// Secret is a text that must not be shown, see [credential.Secret].
type Secret = credential.Secret

// resolve returns text with its placeholders replaced, see
// [credential.Resolve].
func resolve(what, text string) (string, error) { return credential.Resolve(what, text) }
