// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newMeters()
	m.now.live = func() (operator, error) { return newFakeOperator(), nil }
	for _, ev := range []engine.Event{
		{Kind: engine.EventReceived, Listener: "in", Message: "m", Size: 100},
		{Kind: engine.EventReceived, Listener: "in", Message: "m", Size: 11},
		{Kind: engine.EventRefused, Listener: "in", Size: 7},
		{Kind: engine.EventDropped, Listener: "in", Message: "m"},
		{Kind: engine.EventSent, Server: "relay", Message: "m", Delivery: "d", Took: 30 * time.Millisecond},
		{Kind: engine.EventCaptured, Server: "box", Message: "m", Delivery: "d"},
		{Kind: engine.EventDropped, Server: "relay", Message: "m", Delivery: "d"},
		{Kind: engine.EventServerDown, Server: "relay", Reason: "no"},
		{Kind: engine.EventServerUp, Server: "relay", Took: time.Second},
		{Kind: engine.EventLimitNear, Server: "relay"},
		{Kind: engine.EventLimitNear, Domain: "mycompany.com"},
	} {
		m.observe(ev)
	}
	m.eventsDropped.Inc()

	// Each configuration has a registry; two that come after each other see
	// the same counts.
	for range 2 {
		r := prometheus.NewPedanticRegistry()
		for range 2 {
			if err := m.register(r); err != nil {
				t.Fatal(err)
			}
		}
		const want = `
# HELP caddy_mail_deliveries_total Deliveries that came to a state, by outgoing server.
# TYPE caddy_mail_deliveries_total counter
caddy_mail_deliveries_total{server="box",state="captured"} 1
caddy_mail_deliveries_total{server="relay",state="dropped"} 1
caddy_mail_deliveries_total{server="relay",state="sent"} 1
# HELP caddy_mail_destinations_down Destinations that take no mail at the moment.
# TYPE caddy_mail_destinations_down gauge
caddy_mail_destinations_down 0
# HELP caddy_mail_events_dropped_total Mail events that no subscriber was told of, since they came too fast.
# TYPE caddy_mail_events_dropped_total counter
caddy_mail_events_dropped_total 1
# HELP caddy_mail_generations Configurations that serve or still have work.
# TYPE caddy_mail_generations gauge
caddy_mail_generations 1
# HELP caddy_mail_limits_near_total Windows in which most of a limit was used up, by outgoing server or by domain of ours.
# TYPE caddy_mail_limits_near_total counter
caddy_mail_limits_near_total{domain="",server="relay"} 1
caddy_mail_limits_near_total{domain="mycompany.com",server=""} 1
# HELP caddy_mail_queue_depth Deliveries in the store, by state.
# TYPE caddy_mail_queue_depth gauge
caddy_mail_queue_depth{state="captured"} 0
caddy_mail_queue_depth{state="deferred"} 0
caddy_mail_queue_depth{state="dropped"} 0
caddy_mail_queue_depth{state="expired"} 0
caddy_mail_queue_depth{state="failed"} 0
caddy_mail_queue_depth{state="held"} 1
caddy_mail_queue_depth{state="queued"} 2
caddy_mail_queue_depth{state="sent"} 0
# HELP caddy_mail_received_bytes_total Bytes of the messages that a listener took.
# TYPE caddy_mail_received_bytes_total counter
caddy_mail_received_bytes_total{listener="in"} 111
# HELP caddy_mail_received_total Messages that a listener took or refused, by outcome.
# TYPE caddy_mail_received_total counter
caddy_mail_received_total{listener="in",outcome="accepted"} 2
caddy_mail_received_total{listener="in",outcome="refused"} 1
# HELP caddy_mail_server_outages_total Times that an outgoing server stopped taking mail.
# TYPE caddy_mail_server_outages_total counter
caddy_mail_server_outages_total{server="relay"} 1
`
		got := scrape(t, r)
		ours, durations, _ := strings.Cut(got, "# HELP caddy_mail_delivery_seconds ")
		durations, rest, _ := strings.Cut(durations, "# HELP caddy_mail_destinations_down")
		ours += "# HELP caddy_mail_destinations_down" + rest
		if diff := cmp.Diff(want[1:], ours); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(durations, "_count{"); n != 1 || !strings.Contains(durations, `_count{server="relay"} 1`) {
			t.Errorf("only attempts have a duration, got %s", durations)
		}
		problems, err := promlint.New(strings.NewReader(got)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}
	}
}

// scrape returns what r shows to Prometheus.
func scrape(t *testing.T, r prometheus.Gatherer) string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestMetricsWithoutEngine: a scrape never fails for what the mail app lacks.
func TestMetricsWithoutEngine(t *testing.T) {
	t.Parallel()
	broken := newFakeOperator()
	broken.broken = mailflow.ErrNoRoom
	for name, live := range map[string]func() (operator, error){
		"not running":  func() (operator, error) { return nil, engine.ErrNotRunning },
		"store broken": func() (operator, error) { return broken, nil },
		"other error":  func() (operator, error) { return nil, errors.New("x") },
	} {
		r := prometheus.NewPedanticRegistry()
		if err := r.Register(newGauges(live)); err != nil {
			t.Fatal(err)
		}
		got, err := r.Gather()
		if err != nil || len(got) != 0 {
			t.Errorf("%s: %d families, %v", name, len(got), err)
		}
	}
}
