// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// knockPatience bounds the silence of a port: an open one answers within a
	// round trip or two, and an operator waits.
	knockPatience = 5 * time.Second
	// knockSteps bounds a port with all its addresses and steps, in times of
	// the patience.
	knockSteps = 3
	// maxKnocks is the most ports that are tried at once: with hundreds of
	// servers it must not look like a scan.
	maxKnocks = 16
	// doctorTimeout bounds the whole: hundreds of servers, all silent.
	doctorTimeout = 5 * time.Minute
)

// A doctor looks whether the outgoing servers can be reached.
type doctor struct {
	knocks   []knock // where, beside the port in use
	patience time.Duration
}

// newDoctor returns the one for operators.
func newDoctor() doctor { return doctor{knocks: usualKnocks(), patience: knockPatience} }

// targeted is a transport that knows its server.
type targeted interface {
	// Target returns what to dial, without a login.
	Target() (smtprelay.Config, error)
}

// A knock is a port to try, and how.
type knock struct {
	port uint16
	tls  smtprelay.TLSMode
}

// usualKnocks are the ports that mail is usually handed over at.
func usualKnocks() []knock {
	var knocks []knock
	for _, port := range preset.UsualPorts() {
		k := knock{port, smtprelay.TLSOptional}
		if port == preset.PortSubmissions {
			k.tls = smtprelay.TLSImplicit
		}
		knocks = append(knocks, k)
	}
	return knocks
}

// portState says how a port answers.
type portState string

// The states.
const (
	portAnswers  portState = "answers"
	portRefused  portState = "refused"  // nothing listens, or a firewall says so
	portSilent   portState = "silent"   // nothing comes back
	portUnusable portState = "unusable" // something answers, and not as is needed
	portUnknown  portState = "unknown"  // it could not be tried
)

// portCheck is what became of a knock.
type portCheck struct {
	// Port is 0 for a unix socket.
	Port  uint16    `json:"port"`
	State portState `json:"state"`
	// Used is set for the one that mail goes to.
	Used bool          `json:"used,omitempty"`
	Took time.Duration `json:"took"`
	// Detail is what came back, Error why it is not enough.
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
}

// checkup is what the doctor found out about an outgoing server.
type checkup struct {
	Server string `json:"server"`
	Host   string `json:"host,omitempty"`
	// OK is set when mail can be handed over at the port in use.
	OK    bool        `json:"ok"`
	Ports []portCheck `json:"ports,omitempty"`
	// Advice says what it means, and the next step; empty if all is well.
	Advice string `json:"advice,omitempty"`
}

// diagnosis is all that the doctor found out.
type diagnosis struct {
	OK      bool      `json:"ok"`
	Servers []checkup `json:"servers"`
	// Note says where it was looked from, if not by the running gateway.
	Note string `json:"note,omitempty"`
}

// examine knocks at the ports of the outgoing servers, of all or of the one of
// that name.
func (doc doctor) examine(ctx context.Context, servers map[string]*engine.Server, only string) diagnosis {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	d := diagnosis{OK: true, Servers: []checkup{}}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if only == "" || only == name {
			d.Servers = append(d.Servers, checkup{Server: name})
		}
	}
	var all sync.WaitGroup
	places := make(chan struct{}, maxKnocks)
	for i := range d.Servers {
		c := &d.Servers[i]
		all.Go(func() { doc.examineOne(ctx, c, servers[c.Server], places) })
	}
	all.Wait()
	for i := range d.Servers {
		d.OK = d.OK && d.Servers[i].OK
	}
	return d
}

// examineOne fills c.
func (doc doctor) examineOne(ctx context.Context, c *checkup, s *engine.Server, places chan struct{}) {
	t, ok := s.Transport.(targeted)
	switch {
	case s.PerDomain:
		c.OK = true
		c.Advice = "it goes to the mail hosts of each recipient's domain, at port 25, which many networks block: " +
			"try `mailcaddy mail test outgoing " + c.Server + " --rcpt ADDRESS`"
		return
	case !ok:
		c.OK = true
		c.Advice = "it has no server to knock at"
		return
	}
	cfg, err := t.Target()
	if err != nil {
		c.Advice = err.Error()
		return
	}
	c.Host = cfg.Host
	used := knock{cfg.Port, cfg.TLS}
	knocks := []knock{used}
	switch {
	case cfg.Path != "":
		c.Host, used.port = cfg.Path, 0
		knocks[0].port = 0
	case cfg.Protocol == smtprelay.SMTP: // only that has usual ports
		for _, k := range doc.knocks {
			if k.port != used.port {
				knocks = append(knocks, k)
			}
		}
	}
	slices.SortFunc(knocks, func(a, b knock) int { return int(a.port) - int(b.port) })
	c.Ports = make([]portCheck, len(knocks))
	var all sync.WaitGroup
	for i, k := range knocks {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			c.Ports[i] = doc.try(ctx, cfg, k)
			c.Ports[i].Used = k == used
		})
	}
	all.Wait()
	c.advise()
}

// try knocks at a port of the server that cfg leads to.
func (doc doctor) try(ctx context.Context, cfg smtprelay.Config, k knock) portCheck {
	ctx, cancel := context.WithTimeout(ctx, knockSteps*doc.patience)
	defer cancel()
	cfg.Port, cfg.TLS = k.port, k.tls
	cfg.Timeouts = smtprelay.AtMost(doc.patience)
	began := time.Now()
	steps, err := smtprelay.Knock(ctx, cfg)
	check := portCheck{Port: k.port, State: stateOf(err), Took: time.Since(began), Detail: detailOf(steps)}
	if err != nil {
		check.Error = err.Error()
	}
	return check
}

// detailOf returns what the connection and TLS brought.
func detailOf(steps []mailflow.TestStep) string {
	var details []string
	for _, s := range steps {
		if stage := smtprelay.Stage(s.Name); s.Detail != "" && (stage == smtprelay.StageConnect || stage == smtprelay.StageTLS) {
			details = append(details, s.Detail)
		}
	}
	return strings.Join(details, "; ")
}

// stateOf returns what the error of a knock says about the port.
func stateOf(err error) portState {
	var timeout net.Error
	at, ok := errors.AsType[*smtprelay.StageError](err)
	switch {
	case err == nil:
		return portAnswers
	case !ok || at.Stage == smtprelay.StageResolve:
		return portUnknown
	case at.Reply != nil || at.Stage != smtprelay.StageConnect && at.Stage != smtprelay.StageTLS:
		return portUnusable
	case errors.Is(err, syscall.ECONNREFUSED):
		return portRefused
	case errors.As(err, &timeout) && timeout.Timeout():
		return portSilent
	case at.Stage == smtprelay.StageTLS:
		return portUnusable
	}
	return portUnknown
}
