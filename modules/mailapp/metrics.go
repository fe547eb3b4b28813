// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// counters are the process's metrics. Each configuration has a registry of its
// own and registers the same vectors, so that counts survive a reload.
//
// Labels hold names of the configuration only: never addresses, domains or
// anything else that a stranger chooses.
var counters = newMeters()

// meters are the metrics of the mail app.
type meters struct {
	received      *prometheus.CounterVec
	receivedBytes *prometheus.CounterVec
	deliveries    *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	outages       *prometheus.CounterVec
	limitsNear    *prometheus.CounterVec
	eventsDropped prometheus.Counter
	now           *gauges
}

// The outcomes of a transaction, as label values.
const (
	outcomeAccepted = "accepted"
	outcomeRefused  = "refused"
)

// attemptBuckets are the bounds of the duration of an attempt, in seconds:
// from a relay next door to the ten minutes that RFC 5321 section 4.5.3.2
// gives the end of DATA.
var attemptBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 600}

func newMeters() *meters {
	name := func(n, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "caddy", Subsystem: "mail", Name: n, Help: help}
	}
	return &meters{
		received: prometheus.NewCounterVec(name("received_total",
			"Messages that a listener took or refused, by outcome."), []string{"listener", "outcome"}),
		receivedBytes: prometheus.NewCounterVec(name("received_bytes_total",
			"Bytes of the messages that a listener took."), []string{"listener"}),
		deliveries: prometheus.NewCounterVec(name("deliveries_total",
			"Deliveries that came to a state, by outgoing server."), []string{"server", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "mail", Name: "delivery_seconds",
			Help:    "Duration of attempts to deliver, by outgoing server.",
			Buckets: attemptBuckets,
		}, []string{"server"}),
		outages: prometheus.NewCounterVec(name("server_outages_total",
			"Times that an outgoing server stopped taking mail."), []string{"server"}),
		limitsNear: prometheus.NewCounterVec(name("limits_near_total",
			"Windows in which most of a limit was used up, by outgoing server or by domain of ours."), []string{"server", "domain"}),
		eventsDropped: prometheus.NewCounter(name("events_dropped_total",
			"Mail events that no subscriber was told of, since they came too fast.")),
		now: newGauges(liveOperator),
	}
}

// register adds the metrics to a configuration's registry.
func (m *meters) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		m.received, m.receivedBytes, m.deliveries, m.seconds, m.outages, m.limitsNear, m.eventsDropped, m.now,
	} {
		var twice prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &twice) {
			return fmt.Errorf("registering mail metrics: %w", err)
		}
	}
	return nil
}

// observe counts a mail event.
func (m *meters) observe(ev engine.Event) {
	switch ev.Kind {
	case engine.EventReceived:
		m.received.WithLabelValues(ev.Listener, outcomeAccepted).Inc()
		m.receivedBytes.WithLabelValues(ev.Listener).Add(float64(ev.Size))
	case engine.EventRefused:
		m.received.WithLabelValues(ev.Listener, outcomeRefused).Inc()
	case engine.EventSent, engine.EventCaptured, engine.EventDeferred, engine.EventHeld,
		engine.EventFailed, engine.EventExpired, engine.EventDropped:
		if ev.Delivery == "" {
			return // dropped by a handler: it never was a delivery
		}
		m.deliveries.WithLabelValues(ev.Server, string(ev.Kind)).Inc()
		if ev.Took > 0 {
			m.seconds.WithLabelValues(ev.Server).Observe(ev.Took.Seconds())
		}
	case engine.EventServerDown:
		m.outages.WithLabelValues(ev.Server).Inc()
	case engine.EventLimitNear:
		m.limitsNear.WithLabelValues(ev.Server, ev.Domain).Inc()
	case engine.EventServerUp:
	}
}

// scrapeTimeout bounds what a scrape waits for the store. Prometheus gives a
// scrape 10 s; a slow store must not cost it the other metrics.
const scrapeTimeout = 2 * time.Second

// gauges asks the running engine what it does now, at each scrape. While no
// engine runs, or the store does not answer, it gives no samples.
type gauges struct {
	live                     func() (operator, error)
	depth, down, generations *prometheus.Desc
}

func newGauges(live func() (operator, error)) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("caddy", "mail", name), help, labels, nil)
	}
	return &gauges{
		live:        live,
		depth:       desc("queue_depth", "Deliveries in the store, by state.", "state"),
		down:        desc("destinations_down", "Destinations that take no mail at the moment."),
		generations: desc("generations", "Configurations that serve or still have work."),
	}
}

// Describe implements [prometheus.Collector].
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.depth
	ch <- g.down
	ch <- g.generations
}

// Collect implements [prometheus.Collector].
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	op, err := g.live()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s, err := op.Status(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, state := range mailflow.States {
		gauge(g.depth, s.Queue[state], string(state))
	}
	gauge(g.down, len(s.Down))
	gauge(g.generations, s.Generations)
}
