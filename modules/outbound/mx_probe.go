// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/rule/mx"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Test implements [mailflow.Tester]. It looks up the way to the recipient's
// domain and talks to the first of its hosts that can be reached, in the way
// that a mail would take. Hosts that it passed over are told among what was not
// proven.
func (t *MX) Test(ctx context.Context, from, rcpt mailflow.Address) mailflow.TestReport {
	p := &mxProbe{t: t, from: from, rcpt: rcpt}
	began := time.Now()
	r, err := t.route(ctx, rcpt.Domain)
	p.resolve = mailflow.TestStep{Name: string(smtprelay.StageResolve), Took: time.Since(began)}
	if err != nil {
		p.resolve.Error, p.resolve.Hint = err.Error(), hintMX(smtprelay.StageResolve)
		return mailflow.TestReport{Steps: []mailflow.TestStep{p.resolve}, Unproven: []string{"Nothing else was tried."}}
	}
	p.resolve.Detail = r.describe()
	for i, h := range r.hosts {
		report, reached := p.host(ctx, r, h.Name)
		if reached || i == len(r.hosts)-1 {
			report.Unproven = append(p.passed, report.Unproven...)
			return report
		}
		failed := report.Steps[len(report.Steps)-1]
		p.passed = append(p.passed, fmt.Sprintf("Host %s was passed over: %s.", h.Name, failed.Error))
	}
	return mailflow.TestReport{Steps: []mailflow.TestStep{p.resolve}}
}

// An mxProbe is a test of the way to a domain.
type mxProbe struct {
	t          *MX
	from, rcpt mailflow.Address
	resolve    mailflow.TestStep // the first step of the report
	passed     []string
}

// host tests one host. It reports whether the host can be talked to as its
// protection demands.
func (p *mxProbe) host(ctx context.Context, r *route, name string) (mailflow.TestReport, bool) {
	began := time.Now()
	first := p.resolve
	c, err := p.t.candidate(ctx, r, name, false)
	first.Took += time.Since(began)
	if err != nil {
		first.Error, first.Hint = err.Error(), hintMX(smtprelay.StageResolve)
		return mailflow.TestReport{Steps: []mailflow.TestStep{first}, Unproven: []string{"Nothing was tried with this host."}}, false
	}
	first.Detail += fmt.Sprintf("; host %s at %s: %s", name, addressList(c.addrs), c.Level)
	cfg := p.t.config(c)
	report := p.probe(ctx, cfg)
	last := report.Steps[len(report.Steps)-1]
	if c.Level == mx.LevelOpportunistic && last.Name == string(smtprelay.StageTLS) && !report.OK {
		p.passed = append(p.passed, "TLS fails, so that mail to this host goes in clear: "+last.Error+".")
		cfg.TLS = smtprelay.TLSOff
		report = p.probe(ctx, cfg)
	}
	report.Steps[0] = first
	p.loop(&report)
	last = report.Steps[len(report.Steps)-1]
	reached := report.OK || last.Name == string(smtprelay.StageMail) || last.Name == string(smtprelay.StageRcpt)
	return report, reached
}

// probe goes through one session.
func (p *mxProbe) probe(ctx context.Context, cfg smtprelay.Config) mailflow.TestReport {
	return smtprelay.Probe(ctx, cfg, p.from, p.rcpt, func(stage smtprelay.Stage, _ error) string { return hintMX(stage) })
}

// loop ends the report where the host called itself by the gateway's name.
func (p *mxProbe) loop(report *mailflow.TestReport) {
	for i := range report.Steps {
		s := &report.Steps[i]
		name, _, _ := strings.Cut(s.Detail, " ")
		if s.Name == string(smtprelay.StageHello) && s.Error == "" && mx.IsSelf(name, p.t.hostname) {
			s.Error = mx.ErrLoop.Because(errSelf).Error()
			s.Hint = "The host answers by this gateway's `hostname`: correct the MX records, or route the domain's mail elsewhere."
			report.Steps, report.OK = report.Steps[:i+1], false
			return
		}
	}
}

// addressList joins addresses.
func addressList(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// hintMX returns the operator's next step for an error of a test.
func hintMX(stage smtprelay.Stage) string {
	switch stage {
	case smtprelay.StageResolve:
		return "Check the recipient's domain, and that this machine can look it up: `dns { resolver … }` names other name servers."
	case smtprelay.StageConnect:
		return "Many networks block port 25 on the way out: try another recipient's domain, ask the provider to open it, or send by a relay with `via smtp`."
	case smtprelay.StageTLS:
		return "The domain demands protection that its host does not give now: its operator has to mend that, and mail waits until then."
	case smtprelay.StageHello:
		return "The host does not take this machine's `hostname`: it should be a name that leads to its address and back."
	case smtprelay.StageMail:
		return "The host refuses the sender or this machine: what it answered says why. Check SPF, the reverse name of the address, and block lists."
	case smtprelay.StageRcpt:
		return "The host refuses the recipient: check the address, and what it answered."
	case smtprelay.StageAuth:
	}
	return ""
}
