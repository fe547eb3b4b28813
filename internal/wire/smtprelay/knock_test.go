// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestKnock(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{Users: map[string]string{"anna": "secret"}}
	cfg := config(t, relay.Start(t))
	cfg.Login = &Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}
	steps, err := Knock(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"resolve", "connect", "ehlo"}, names); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"EHLO gate.example", "QUIT"}, relay.Commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if cfg.Login == nil {
		t.Error("the caller's configuration has changed")
	}
}

func TestKnockInVain(t *testing.T) {
	t.Parallel()
	stage := func(err error) Stage {
		at, ok := errors.AsType[*StageError](err)
		if !ok {
			return ""
		}
		return at.Stage
	}
	greeting := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayGreeting, mailflowtest.RelaySayClose("554 no"))}
	hello := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayHello, mailflowtest.RelaySay("421 not now"))}
	for name, tt := range map[string]struct {
		relay *mailflowtest.Relay
		tls   TLSMode
		want  Stage
		text  string
	}{
		"greeting": {greeting, TLSOff, StageConnect, "554 no"},
		"hello":    {hello, TLSOff, StageHello, "421 not now"},
		"no TLS":   {&mailflowtest.Relay{}, TLSImplicit, StageTLS, "TLS handshake"},
		"STARTTLS": {&mailflowtest.Relay{}, TLSRequired, StageTLS, "does not offer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, tt.relay.Start(t))
			cfg.TLS = tt.tls
			steps, err := Knock(t.Context(), cfg)
			if stage(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v", err)
			}
			if last := steps[len(steps)-1]; last.Name != string(tt.want) || last.Error == "" {
				t.Errorf("last step %+v", last)
			}
		})
	}
}

// TestKnockSilence: a server that takes the connection and says nothing is
// given up in the time of the timeouts.
func TestKnockSilence(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayGreeting, mailflowtest.RelayStall(t.Context().Done()))}
	cfg := config(t, relay.Start(t))
	cfg.Timeouts = AtMost(50 * time.Millisecond)
	_, err := Knock(t.Context(), cfg)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if steps, err := Knock(ctx, cfg); err == nil || slices.ContainsFunc(steps, func(s mailflow.TestStep) bool { return s.Name == "ehlo" }) {
		t.Errorf("after the end: %v %v", steps, err)
	}
}
