// SPDX-License-Identifier: Apache-2.0

// Command mailcaddy is Caddy with the mail modules plugged in. Its commands
// are Caddy's, and those below `mailcaddy mail`.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mailcaddy/mailcaddy"
)

func main() { caddycmd.Main() }
