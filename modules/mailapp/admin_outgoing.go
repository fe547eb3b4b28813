// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// testTimeout bounds the test of an outgoing server: a few look-ups, and the
// greeting delay of a suspicious server.
const testTimeout = 90 * time.Second

// testOutgoing answers POST /mail/outgoing/NAME/test with a
// [mailflow.TestReport], also when the test failed. Who names no sender tests
// with one that the server may carry, and who names no recipient with the
// sender, as Odoo's own test does.
func (a *Admin) testOutgoing(w http.ResponseWriter, r *http.Request) error {
	args, err := arguments(w, r, "from", "rcpt")
	if err != nil {
		return err
	}
	var from, rcpt mailflow.Address
	for _, arg := range []struct {
		name string
		to   *mailflow.Address
	}{{"from", &from}, {"rcpt", &rcpt}} {
		if *arg.to, err = mailflow.ParseAddress(args[arg.name]); err != nil {
			return apiError(http.StatusBadRequest, "%s %q: %w", arg.name, args[arg.name], err)
		}
	}
	op, err := a.live()
	if err != nil {
		return refusal(err)
	}
	if services := a.services(); from.IsNull() && services != nil {
		from = testSender(services, r.PathValue("name"))
	}
	if rcpt.IsNull() {
		rcpt = from
	}
	// The admin server's read timeout would end the request's own context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), testTimeout)
	defer cancel()
	report, err := op.Test(ctx, r.PathValue("name"), from, rcpt)
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, report)
}

// testSender returns a sender that a server of that name may carry: one of its
// filter, else the default domain's default_from, else the postmaster of this
// host.
func testSender(s *mailflow.Services, server string) mailflow.Address {
	sender := mailflow.Address{Local: "postmaster", Domain: s.Hostname}
	if d := s.Domains.Default(); d != nil && !d.DefaultFrom.IsNull() {
		sender = d.DefaultFrom
	}
	i := slices.IndexFunc(s.Servers, func(o mailflow.Server) bool { return o.Name == server })
	if i < 0 {
		return sender
	}
	for _, f := range s.Servers[i].FromFilter {
		if strings.EqualFold(f, sender.Domain) || strings.EqualFold(f, sender.String()) {
			return sender
		}
	}
	for _, f := range s.Servers[i].FromFilter {
		if !strings.Contains(f, "@") {
			f = sender.Local + "@" + f
		}
		if a, err := mailflow.ParseAddress(f); err == nil {
			return a
		}
	}
	return sender
}
