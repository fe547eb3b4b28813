// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the gateway as a process of its own, in a directory of its
// own, and looks at it from outside: over SMTP, with its commands, and through
// its admin endpoint. Its peers are swaks and smtp-sink where they can tell,
// and [mailflowtest.Relay] where a far end has to fail on purpose or every
// byte counts.
//
// The process is this test binary under another name, so that it is built once
// and with the race detector when the tests are. It ends with the tests.
package e2e

import (
	"io"
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mailcaddy/mailcaddy"
)

// asGateway is set in the environment of a process that is to be the gateway.
const asGateway = "MAILCADDY_E2E_GATEWAY"

func TestMain(m *testing.M) {
	if os.Getenv(asGateway) == "" {
		os.Exit(m.Run())
	}
	go func() {
		// The tests hold the other end: it closes when they end in whatever way.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	caddycmd.Main()
}
