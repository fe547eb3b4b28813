// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"fmt"
	"net/http"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// doctor answers POST /mail/doctor with a [diagnosis] of the outgoing servers:
// of all, or of the one that server names.
func (a *Admin) doctor(w http.ResponseWriter, r *http.Request) error {
	args, err := arguments(w, r, "server")
	if err != nil {
		return err
	}
	running, err := runningApp()
	if err == nil {
		err = knownServer(running.config.Servers, args["server"])
	}
	if err != nil {
		return refusal(err)
	}
	// The admin server's read timeout would end the request's own context.
	ctx := context.WithoutCancel(r.Context())
	return reply(w, http.StatusOK, newDoctor().examine(ctx, running.config.Servers, args["server"]))
}

// knownServer refuses a name that is none of the servers'; empty is all.
func knownServer(servers map[string]*engine.Server, name string) error {
	if _, ok := servers[name]; ok || name == "" {
		return nil
	}
	return fmt.Errorf("no outgoing server is named %q: %w", name, mailflow.ErrNoRecord)
}
