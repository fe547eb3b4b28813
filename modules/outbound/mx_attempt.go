// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/mx"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxTransactions is the most hosts of a domain that are asked to take the
// mail in one attempt. RFC 5321 section 5.1 wants two at least. More would
// only make each host of a domain that greylists or is out of order say the
// same.
const maxTransactions = 2

// A group is the recipients of one domain.
type group struct {
	domain string
	at     []int // their places in the delivery
}

// byDomain groups recipients in the order of their domains.
func byDomain(rcpts []mailflow.Recipient) []group {
	var groups []group
	for i, r := range rcpts {
		n := slices.IndexFunc(groups, func(g group) bool { return g.domain == r.Address.Domain })
		if n < 0 {
			n = len(groups)
			groups = append(groups, group{domain: r.Address.Domain})
		}
		groups[n].at = append(groups[n].at, i)
	}
	return groups
}

// part returns the attempt for some of its recipients.
func part(a *mailflow.Attempt, at []int) *mailflow.Attempt {
	d := *a.Delivery
	d.Envelope.Recipients = make([]mailflow.Recipient, 0, len(at))
	for _, i := range at {
		d.Envelope.Recipients = append(d.Envelope.Recipients, a.Delivery.Envelope.Recipients[i])
	}
	return &mailflow.Attempt{Delivery: &d, Content: a.Content}
}

// replyFor returns the reply that an error of an attempt stands for.
func replyFor(err error) *mailflow.Reply {
	if r, ok := errors.AsType[*mailflow.Reply](err); ok {
		return r
	}
	text := err.Error()
	if len(text) > mailflow.MaxStoredText {
		text = strings.ToValidUTF8(text[:mailflow.MaxStoredText], "")
	}
	return &mailflow.Reply{Code: 451, Enhanced: mailflow.EnhancedCode{4, 4, 0}, Text: text}
}

// deliver makes an attempt for the recipients of one domain, who are all of a.
func (t *MX) deliver(ctx context.Context, a *mailflow.Attempt, g group) ([]mailflow.Result, error) {
	r, err := t.route(ctx, g.domain)
	if err != nil {
		return nil, err
	}
	x := &mxAttempt{route: r, a: a, results: make([]mailflow.Result, len(g.at))}
	for i := range g.at {
		x.open = append(x.open, i)
	}
	for _, h := range r.hosts {
		c, err := t.candidate(ctx, r, h.Name, a.Delivery.Envelope.RequireTLS)
		var more bool
		if err != nil {
			more = x.pass(err)
		} else {
			dial := func(ctx context.Context) (*smtprelay.Conn, error) { return t.dial(ctx, c) }
			more = x.next(t.pool.Deliver(ctx, c.key(), dial, part(a, x.open)))
		}
		if !more || ctx.Err() != nil {
			break
		}
	}
	return x.end()
}

// An mxAttempt is an attempt for the recipients of one domain, host by host.
type mxAttempt struct {
	route   *route
	a       *mailflow.Attempt
	results []mailflow.Result // without reply so far for some
	open    []int             // recipients that still want a host

	asked  int     // hosts that were asked to take the mail
	broken error   // how the last one failed without an answer
	passed []error // why hosts were not asked
	loops  bool    // the next host would be this gateway
}

// pass notes why a host was not asked, and reports whether another one may be
// tried: not behind this gateway, which would only get the mail back.
func (x *mxAttempt) pass(err error) bool {
	if x.loops = errors.Is(err, errSelf); !x.loops {
		x.passed = append(x.passed, err)
	}
	return !x.loops
}

// next notes what a host made of the open recipients, and reports whether
// another one may be tried.
func (x *mxAttempt) next(results []mailflow.Result, err error) bool {
	var reply *mailflow.Reply
	switch {
	case errors.Is(err, errSelf), errors.Is(err, mailflow.ErrUnreachable):
		return x.pass(err)
	case errors.As(err, &reply) && x.a.Delivery.Envelope.RequireTLS && reply.Enhanced == mx.ErrNeedsTLS.Enhanced:
		return x.pass(errNoRequireTLS)
	}
	x.asked++
	switch {
	case reply != nil:
		for _, i := range x.open {
			x.results[i] = mailflow.ResultOf(x.a.Delivery.Envelope.Recipients[i], reply)
		}
	case err != nil:
		x.broken = err
	default:
		for n, i := range x.open {
			x.results[i] = results[n]
		}
	}
	x.open = slices.DeleteFunc(x.open, func(i int) bool {
		return x.results[i].Reply != nil && x.results[i].State != mailflow.StateDeferred
	})
	// Where the reply to the content was lost another host might double it.
	return len(x.open) > 0 && x.asked < maxTransactions && !errors.Is(err, smtprelay.ErrOutcomeUnknown)
}

// errNoRequireTLS says that a host was passed over for its lack of REQUIRETLS.
var errNoRequireTLS = errors.New("host does not offer REQUIRETLS")

// end returns what came of the attempt.
func (x *mxAttempt) end() ([]mailflow.Result, error) {
	answered := func(r mailflow.Result) bool { return r.Reply != nil }
	switch {
	case x.asked == 0:
		return nil, x.nobody()
	case !slices.ContainsFunc(x.results, answered):
		return nil, fmt.Errorf("sending to the hosts of %s: %w", x.route.domain, x.broken)
	}
	for i, r := range x.results {
		if !answered(r) {
			x.results[i] = mailflow.ResultOf(x.a.Delivery.Envelope.Recipients[i], replyFor(x.broken))
		}
	}
	return x.results, nil
}

// nobody returns why no host was asked.
func (x *mxAttempt) nobody() error {
	all := func(is func(error) bool) bool {
		return !x.loops && len(x.passed) > 0 && !slices.ContainsFunc(x.passed, func(err error) bool { return !is(err) })
	}
	why := joined(x.passed)
	switch {
	case x.loops && len(x.passed) == 0:
		return mx.ErrLoop.Because(errSelf)
	case all(func(err error) bool { return errors.Is(err, mailflow.ErrNotFound) }) && x.route.direct:
		return mx.ErrNoDomain.Because(why)
	case all(func(err error) bool { return errors.Is(err, mailflow.ErrNotFound) }):
		return mx.ErrNoHost.Because(why)
	case x.a.Delivery.Envelope.RequireTLS && all(lacksTLS):
		return mx.ErrNeedsTLS.Because(why)
	}
	return fmt.Errorf("%w: no host of %s can be used: %w", mailflow.ErrUnreachable, x.route.domain, why)
}

// lacksTLS reports whether a host was passed over because it is not protected
// as the message demands.
func lacksTLS(err error) bool {
	return errors.Is(err, errNoRequireTLS) || errors.Is(err, mx.ErrUnproven) || errors.Is(err, mx.ErrNotInPolicy) ||
		failedAt(err, smtprelay.StageTLS)
}

// joined joins errors in one line.
func joined(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return errors.New(strings.Join(texts, "; "))
}
