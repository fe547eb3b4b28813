// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Hidden is what a [Secret] shows.
const Hidden = "***"

// Secret is a text that must not be shown. Its JSON form is the text itself,
// which should be a placeholder such as {env.SMTP_PASSWORD} or
// {file./run/secrets/smtp}; logs and errors show [Hidden].
type Secret string

// String hides the text.
func (Secret) String() string { return Hidden }

// GoString hides the text.
func (Secret) GoString() string { return Hidden }

// Resolve returns text with its placeholders replaced; what says which value
// it is. It is done at each use, so that a file that has changed counts at
// once. A placeholder without a value is an error.
func Resolve(what, text string) (string, error) {
	if !strings.Contains(text, "{") {
		return text, nil
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w: set the variable or the file that it names", what, err)
	}
	return value, nil
}
