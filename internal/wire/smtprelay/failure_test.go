// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// acts are the ways in which a server fails at a stage.
var acts = map[string]mailflowtest.RelayAct{
	"4xx":       mailflowtest.RelaySay("451 4.3.0 later"),
	"5xx":       mailflowtest.RelaySay("550-5.7.1 never", "550 5.7.1 at all"),
	"421":       mailflowtest.RelaySayClose("421 4.3.2 closing"),
	"odd":       mailflowtest.RelaySay("399 what"),
	"garbage":   mailflowtest.RelayRaw("HTTP/1.1 400 Bad Request\r\n"),
	"long line": mailflowtest.RelayRaw("250-" + strings.Repeat("x", maxReplyLine) + "\r\n"),
	"no end":    mailflowtest.RelayRaw(strings.Repeat("250-x\r\n", maxReplyLines+1)),
	"half":      mailflowtest.RelaySayClose("250-half"),
	"stall":     mailflowtest.RelayStall(nil),
	"close":     mailflowtest.RelayClose(),
	"cut":       mailflowtest.RelayCut(),
}

// broke are the acts after which nothing is known.
var broke = []string{"odd", "garbage", "long line", "no end", "half", "stall", "close", "cut"}

// outcomeOf says in a word what an attempt came to.
func outcomeOf(results []mailflow.Result, err error) string {
	var r *mailflow.Reply
	switch {
	case errors.Is(err, mailflow.ErrUnreachable):
		if errors.As(err, &r) {
			return "unreachable with a reply"
		}
		return "unreachable"
	case errors.As(err, &r):
		return "all " + string(mailflow.ResultOf(mailflow.Recipient{}, r).State)
	case errors.Is(err, ErrOutcomeUnknown):
		return "unknown"
	case err != nil:
		return "temporary"
	}
	return string(results[0].State)
}

// TestFailures fails at each stage in each way, and then delivers.
func TestFailures(t *testing.T) {
	t.Parallel()
	with := func(other string, special map[string]string) map[string]string {
		for _, act := range broke {
			if special[act] == "" {
				special[act] = other
			}
		}
		return special
	}
	const unreachable = "unreachable"
	down := with(unreachable, map[string]string{"4xx": unreachable, "5xx": unreachable, "421": unreachable})
	stages := map[mailflowtest.RelayStage]map[string]string{
		mailflowtest.RelayGreeting: down,
		mailflowtest.RelayHello:    down,
		mailflowtest.RelayStartTLS: down,
		mailflowtest.RelayTLS:      {"close": unreachable, "cut": unreachable, "stall": unreachable, "garbage": unreachable},
		mailflowtest.RelayAuth:     down,
		mailflowtest.RelayMail:     with("temporary", map[string]string{"4xx": "all deferred", "5xx": "all failed", "421": "all deferred"}),
		mailflowtest.RelayRcpt:     with("temporary", map[string]string{"4xx": "deferred", "5xx": "failed", "421": "deferred"}),
		mailflowtest.RelayData:     with("temporary", map[string]string{"4xx": "deferred", "5xx": "failed", "421": "deferred"}),
		mailflowtest.RelayContent:  {"421": "deferred", "stall": "temporary", "close": "temporary", "cut": "temporary"},
		mailflowtest.RelayFinal:    with("unknown", map[string]string{"4xx": "deferred", "5xx": "failed", "421": "deferred"}),
	}
	authority := newAuthority(t)
	for stage, outcomes := range stages {
		for name, want := range outcomes {
			for _, offers := range [][]string{mailflowtest.RelayOffers, {"SIZE"}} {
				t.Run(string(stage)+"/"+name+"/"+strings.Join(offers, ","), func(t *testing.T) {
					t.Parallel()
					relay := &mailflowtest.Relay{
						Offers: offers, TLS: authority.server, Users: map[string]string{"anna": "secret"},
						Script: mailflowtest.RelayAt(stage, acts[name]),
					}
					cfg := config(t, relay.Start(t))
					cfg.TLS, cfg.TLSConfig = TLSRequired, authority.client
					cfg.Login = &Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}
					cfg.Timeouts = patient
					dialling := outcomes[name] == unreachable
					if name == "stall" && dialling {
						cfg.Timeouts = hasty
					}
					a := attempt("b@b.example")
					if stage == mailflowtest.RelayContent { // more than the sockets hold
						a.Content = &content{text: strings.Repeat(strings.Repeat("x", 76)+"\r\n", 100_000)}
					}
					c, err := Dial(t.Context(), cfg)
					var results []mailflow.Result
					if err == nil {
						if name == "stall" && !dialling {
							hasten(&c.cfg.Timeouts, stage)
						}
						results, err = c.Deliver(t.Context(), a)
						defer c.Quit()
					}
					got := outcomeOf(results, err)
					if stage == mailflowtest.RelayContent && name == "421" && got == "temporary" {
						got = want // the reset may overtake the reply
					}
					if got != want {
						t.Errorf("outcome %q, want %q: %v %v", got, want, results, err)
					}
					if err != nil && strings.Contains(err.Error(), "secret") {
						t.Errorf("%v shows the password", err)
					}
				})
			}
		}
	}
}

// patient lets a loaded machine be slow; hasty is for stalls.
var (
	patient = Timeouts{
		Connect: time.Minute, TLS: time.Minute, Command: time.Minute, Data: time.Minute,
		Block: time.Minute, Final: time.Minute, Quit: time.Second,
	}
	hasty = Timeouts{
		Connect: time.Minute, TLS: 100 * time.Millisecond, Command: 100 * time.Millisecond, Data: 100 * time.Millisecond,
		Block: 100 * time.Millisecond, Final: 100 * time.Millisecond, Quit: time.Millisecond,
	}
)

// hasten makes the waits at a stage short, and those before it not.
func hasten(timeouts *Timeouts, stage mailflowtest.RelayStage) {
	at := map[mailflowtest.RelayStage][]*time.Duration{
		mailflowtest.RelayMail:    {&timeouts.Command},
		mailflowtest.RelayRcpt:    {&timeouts.Command},
		mailflowtest.RelayData:    {&timeouts.Data},
		mailflowtest.RelayContent: {&timeouts.Block, &timeouts.Final},
		mailflowtest.RelayFinal:   {&timeouts.Final},
	}
	for _, d := range at[stage] {
		*d = hasty.Final
	}
}
