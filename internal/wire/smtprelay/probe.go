// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// unproven is what no test without content can show.
var unproven = []string{
	"No message was sent: what the server thinks of content, size and attachments was not asked.",
	"SPF, DKIM, DMARC and the reputation of the sender are judged when a real message arrives.",
	"A recipient that is accepted may still be refused after the content, or bounce later.",
	"Limits on the number of messages show only when they are reached.",
}

// Probe goes through everything that comes before DATA, as
// [mailflow.Tester] says. Hint gives the operator's next step for an error at
// a stage; it may be nil.
func Probe(ctx context.Context, cfg Config, from, rcpt mailflow.Address, hint func(Stage, error) string) mailflow.TestReport {
	p := &probe{cfg: cfg.withDefaults(), hint: hint}
	c, err := open(ctx, p.cfg, p.step)
	if err == nil {
		release := c.bind(ctx)
		err = p.envelope(c, from, rcpt)
		if err == nil && !c.dead {
			_ = c.reset()
		}
		release()
		c.Quit()
		if c.state == nil {
			p.report.Unproven = append(p.report.Unproven, "The connection is not encrypted: nothing was shown about TLS.")
		}
	}
	p.report.OK = err == nil
	if err != nil {
		p.notTried()
	}
	p.report.Unproven = append(p.report.Unproven, unproven...)
	return p.report
}

type probe struct {
	cfg    *Config
	hint   func(Stage, error) string
	report mailflow.TestReport
}

// step runs one step and notes it.
func (p *probe) step(stage Stage, step func() (string, error)) error {
	began := p.cfg.Now()
	detail, err := step()
	s := mailflow.TestStep{Name: string(stage), Detail: detail, Took: p.cfg.Now().Sub(began)}
	if err != nil {
		s.Error = err.Error()
		if p.hint != nil {
			s.Hint = p.hint(stage, err)
		}
	}
	p.report.Steps = append(p.report.Steps, s)
	return err
}

// envelope tries MAIL and, if there is a recipient, RCPT.
func (p *probe) envelope(c *Conn, from, rcpt mailflow.Address) error {
	r := mailflow.Recipient{Address: rcpt}
	t := &transaction{c: c, a: &mailflow.Attempt{
		Delivery: &mailflow.Delivery{Envelope: mailflow.Envelope{From: from, Recipients: []mailflow.Recipient{r}}},
		Content:  noContent{},
	}}
	err := p.step(StageMail, func() (string, error) {
		if refusal := c.check(t.a); refusal != nil {
			return "", refusal
		}
		return p.ask(c, t.mailCommand([]int{0}))
	})
	if err != nil {
		return err
	}
	if rcpt.IsNull() {
		p.report.Unproven = append(p.report.Unproven, "No recipient was named, so none was asked for.")
		return nil
	}
	return p.step(StageRcpt, func() (string, error) {
		if refusal := c.checkRecipient(r); refusal != nil {
			return "", refusal
		}
		return p.ask(c, c.rcptCommand(r))
	})
}

// ask sends one command, which has to be accepted.
func (*probe) ask(c *Conn, command string) (string, error) {
	rep, err := c.command(c.cfg.Timeouts.Command, command)
	switch {
	case err != nil:
		return "", err
	case rep.code/100 != 2:
		return "", rep.public()
	}
	return rep.public().String(), nil
}

// notTried says which steps did not get their turn.
func (p *probe) notTried() {
	order := []Stage{StageResolve, StageConnect, StageHello, StageAuth, StageMail, StageRcpt}
	last := Stage(p.report.Steps[len(p.report.Steps)-1].Name)
	if last == StageTLS {
		last = StageHello
	}
	var rest []string
	for _, stage := range order[slices.Index(order, last)+1:] {
		if stage != StageAuth || p.cfg.Login != nil {
			rest = append(rest, string(stage))
		}
	}
	if len(rest) > 0 {
		p.report.Unproven = append(p.report.Unproven, "Not tried: "+strings.Join(rest, ", ")+".")
	}
}

// AsReply returns the reply that the server gave with err, or nil: also that
// of a [StageError], which is no answer to a mail.
func AsReply(err error) *mailflow.Reply {
	if at, ok := errors.AsType[*StageError](err); ok {
		return at.Reply
	}
	r, _ := errors.AsType[*mailflow.Reply](err)
	return r
}

// noContent is the content of a test: none, so that nothing asks for an
// extension.
type noContent struct{ mailflow.Content }

func (noContent) Size() int64      { return 0 }
func (noContent) EightBit() bool   { return false }
func (noContent) UTF8Header() bool { return false }
