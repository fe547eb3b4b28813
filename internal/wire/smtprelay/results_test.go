// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// byRecipient is a script that answers at a stage by the line.
func byRecipient(stage mailflowtest.RelayStage, answers map[string]mailflowtest.RelayAct) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
	return func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		for rcpt, act := range answers {
			if e.Stage == stage && strings.Contains(e.Line, rcpt) {
				return act
			}
		}
		return nil
	}
}

// TestRecipients gives recipients of one attempt different ends, and then
// delivers on the same connection.
func TestRecipients(t *testing.T) {
	t.Parallel()
	say := mailflowtest.RelaySay
	lost := "451 4.4.2 Connection to the next server broke"
	tests := []struct {
		name   string
		lmtp   bool
		script func(mailflowtest.RelayEvent) mailflowtest.RelayAct
		want   []string
		dead   bool // the connection is of no use after it
	}{
		{"partial", false, byRecipient(mailflowtest.RelayRcpt, map[string]mailflowtest.RelayAct{
			"c@": say("450 4.2.1 busy"), "d@": say("550 5.1.1 unknown"),
		}), []string{
			"b@x.example sent 250 2.0.0 taken", "c@x.example deferred 450 4.2.1 busy", "d@x.example failed 550 5.1.1 unknown",
		}, false},
		{"all refused", false, mailflowtest.RelayAt(mailflowtest.RelayRcpt, say("550 5.1.1 unknown")), []string{
			"b@x.example failed 550 5.1.1 unknown", "c@x.example failed 550 5.1.1 unknown", "d@x.example failed 550 5.1.1 unknown",
		}, false},
		{"all refused, and 354", false, mailflowtest.RelayActs(map[mailflowtest.RelayStage]mailflowtest.RelayAct{
			mailflowtest.RelayRcpt:  say("550 5.1.1 unknown"),
			mailflowtest.RelayData:  say("354 go on"),
			mailflowtest.RelayFinal: say("554 5.5.1 no valid recipients"),
		}), []string{
			"b@x.example failed 550 5.1.1 unknown", "c@x.example failed 550 5.1.1 unknown", "d@x.example failed 550 5.1.1 unknown",
		}, false},
		{"LMTP, all refused, and 354", true, mailflowtest.RelayActs(map[mailflowtest.RelayStage]mailflowtest.RelayAct{
			mailflowtest.RelayRcpt: say("550 5.1.1 unknown"),
			mailflowtest.RelayData: say("354 go on"),
		}), []string{
			"b@x.example failed 550 5.1.1 unknown", "c@x.example failed 550 5.1.1 unknown", "d@x.example failed 550 5.1.1 unknown",
		}, true},
		{"MAIL refused", false, mailflowtest.RelayAt(mailflowtest.RelayMail, say("550 5.7.1 not you")), []string{
			"error: 550 5.7.1 not you",
		}, false},
		{"MAIL refused, and 354", false, mailflowtest.RelayActs(map[mailflowtest.RelayStage]mailflowtest.RelayAct{
			mailflowtest.RelayMail: say("550 5.7.1 not you"),
			mailflowtest.RelayData: say("354 go on"),
		}), []string{"error: 550 5.7.1 not you"}, true},
		{"DATA refused", false, mailflowtest.RelayAt(mailflowtest.RelayData, say("451 4.3.0 later")), []string{
			"b@x.example deferred 451 4.3.0 later", "c@x.example deferred 451 4.3.0 later", "d@x.example deferred 451 4.3.0 later",
		}, false},
		{"closed after the first RCPT", false, func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
			switch {
			case e.Stage == mailflowtest.RelayRcpt && strings.Contains(e.Line, "b@"):
				return say("550 5.1.1 unknown")
			case e.Stage == mailflowtest.RelayRcpt:
				return mailflowtest.RelayClose()
			}
			return nil
		}, []string{"b@x.example failed 550 5.1.1 unknown", "c@x.example deferred " + lost, "d@x.example deferred " + lost}, true},
		{"421 after the first RCPT", false, func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
			if e.Stage == mailflowtest.RelayRcpt && !strings.Contains(e.Line, "b@") {
				return mailflowtest.RelaySayClose("421 4.3.2 closing")
			}
			return nil
		}, []string{"b@x.example deferred 421 4.3.2 closing", "c@x.example deferred 421 4.3.2 closing", "d@x.example deferred 421 4.3.2 closing"}, true},
		{"LMTP", true, byRecipient(mailflowtest.RelayFinal, map[string]mailflowtest.RelayAct{
			"c@": say("452 4.2.2 full"), "d@": say("550-5.2.1 closed", "550 5.2.1 for good"),
		}), []string{
			"b@x.example sent 250 2.0.0 taken", "c@x.example deferred 452 4.2.2 full", "d@x.example failed 550 5.2.1 closed for good",
		}, false},
		{"LMTP, one refused before", true, byRecipient(mailflowtest.RelayRcpt, map[string]mailflowtest.RelayAct{
			"c@": say("550 5.1.1 unknown"),
		}), []string{
			"b@x.example sent 250 2.0.0 taken", "c@x.example failed 550 5.1.1 unknown", "d@x.example sent 250 2.0.0 taken",
		}, false},
		{"LMTP, broken between replies", true, byRecipient(mailflowtest.RelayFinal, map[string]mailflowtest.RelayAct{
			"c@": mailflowtest.RelayClose(),
		}), []string{
			"b@x.example sent 250 2.0.0 taken", "c@x.example deferred " + lost, "d@x.example deferred " + lost,
		}, true},
	}
	for _, tt := range tests {
		for _, offers := range [][]string{{"PIPELINING", "DSN"}, {}} {
			t.Run(fmt.Sprint(tt.name, offers), func(t *testing.T) {
				t.Parallel()
				relay := &mailflowtest.Relay{LMTP: tt.lmtp, Offers: offers}
				relay.Script = func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
					if strings.Contains(e.Line, "last") || len(relay.Commands()) > 0 && slices.ContainsFunc(relay.Commands(), isLast) {
						return nil
					}
					return tt.script(e)
				}
				c := start(t, relay, func(cfg *Config) { cfg.Timeouts = patient })
				results, err := c.Deliver(t.Context(), attempt("b@x.example", "c@x.example", "d@x.example"))
				if diff := cmp.Diff(tt.want, outcomes(results, err)); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				// Without pipelining DATA is not asked for in vain.
				dead := tt.dead && (len(offers) > 0 || !strings.HasSuffix(tt.name, ", and 354"))
				if c.Usable() == dead {
					t.Fatalf("usable %v, want %v", c.Usable(), !dead)
				}
				if dead {
					return
				}
				last := attempt("b@x.example")
				last.Delivery.Envelope.From = mailflow.MustParseAddress("last@a.example")
				results, err = c.Deliver(t.Context(), last)
				if got := outcomeOf(results, err); got != "sent" {
					t.Errorf("the next message is %s: %v", got, err)
				}
			})
		}
	}
}

func isLast(command string) bool { return strings.Contains(command, "last@") }

// TestOutcomeUnknown finds the cause in the replies of recipients.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	c := start(t, &mailflowtest.Relay{LMTP: true, Script: byRecipient(mailflowtest.RelayFinal, map[string]mailflowtest.RelayAct{
		"c@": mailflowtest.RelayCut(),
	})}, nil)
	results, err := c.Deliver(t.Context(), attempt("b@b.example", "c@c.example"))
	if err != nil || !errors.Is(results[1].Reply, ErrOutcomeUnknown) {
		t.Errorf("results %v, error %v", outcomes(results, err), err)
	}
}

// TestManyRecipients sends in parts that the server takes.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	tests := []struct {
		offers []string
		want   []int
	}{
		{[]string{"PIPELINING"}, []int{100, 100, 30}},
		{[]string{}, []int{100, 100, 30}},
		{[]string{"PIPELINING", "LIMITS RCPTMAX=90 MAILMAX=5"}, []int{90, 90, 50}},
		{[]string{"PIPELINING", "LIMITS RCPTMAX=1000"}, []int{100, 100, 30}},
	}
	var rcpts []string
	for n := range 230 {
		rcpts = append(rcpts, fmt.Sprintf("r%d@b.example", n))
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.offers), func(t *testing.T) {
			t.Parallel()
			relay := &mailflowtest.Relay{Offers: tt.offers, Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
				if e.Stage == mailflowtest.RelayFinal && e.Message == 1 {
					return mailflowtest.RelaySayClose("451 4.3.0 no more")
				}
				return nil
			}}
			c := start(t, relay, nil)
			results, err := c.Deliver(t.Context(), attempt(rcpts...))
			if err != nil {
				t.Fatal(err)
			}
			var parts []int
			for _, m := range relay.Messages() {
				parts = append(parts, len(m.Rcpt))
			}
			if diff := cmp.Diff(tt.want[:1], parts); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			for i, r := range results {
				if want := i < tt.want[0]; (r.State == mailflow.StateSent) != want || r.Recipient.Address.String() != rcpts[i] {
					t.Fatalf("recipient %d: %s %s", i, r.Recipient.Address, r.State)
				}
			}
			var again []string
			for _, r := range results[tt.want[0]:] {
				again = append(again, r.Recipient.Address.String())
			}
			cfg := *c.cfg
			fresh, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer fresh.Quit()
			relayedBefore := len(relay.Messages())
			if _, err = fresh.Deliver(t.Context(), attempt(again[:10]...)); err != nil {
				t.Fatal(err)
			}
			if got := len(relay.Messages()[relayedBefore].Rcpt); got != 10 {
				t.Errorf("%d recipients, want 10", got)
			}
		})
	}
}

// TestCancelled ends the attempt with its context.
func TestCancelled(t *testing.T) {
	t.Parallel()
	for _, stage := range []mailflowtest.RelayStage{
		mailflowtest.RelayGreeting, mailflowtest.RelayHello, mailflowtest.RelayMail, mailflowtest.RelayData, mailflowtest.RelayFinal,
	} {
		t.Run(string(stage), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("draining")
			relay := &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
				if e.Stage != stage {
					return nil
				}
				cancel(cause)
				return mailflowtest.RelayStall(nil)
			}}
			cfg := config(t, relay.Start(t))
			c, err := Dial(ctx, cfg)
			if err == nil {
				_, err = c.Deliver(ctx, attempt("b@b.example"))
				if c.Usable() {
					t.Error("the connection is still used")
				}
			}
			if !errors.Is(err, cause) {
				t.Errorf("error %v, want the cause", err)
			}
		})
	}
}
