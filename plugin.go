// SPDX-License-Identifier: Apache-2.0

// Package mailcaddy plugs every mail module into Caddy. It is what
// `xcaddy build --with` names; a program that imports it has them all.
package mailcaddy

import (
	_ "github.com/mailcaddy/mailcaddy/modules/dnscheck"
	_ "github.com/mailcaddy/mailcaddy/modules/inbound"
	_ "github.com/mailcaddy/mailcaddy/modules/mailapp"
	_ "github.com/mailcaddy/mailcaddy/modules/outbound"
	_ "github.com/mailcaddy/mailcaddy/modules/routing"
	_ "github.com/mailcaddy/mailcaddy/modules/store"
)
