// SPDX-License-Identifier: Apache-2.0

package mailflow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// handler is a handler of a function.
type handler func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error

func (h handler) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	return h(ctx, tx, next)
}

// only matches recipients by the first letter.
type only string

func (m only) Match(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	return strings.Contains(string(m), rcpt.Address.Local), nil
}

// broken is a matcher that cannot tell.
type broken struct{}

func (broken) Match(context.Context, *mailflow.Transaction, mailflow.Recipient) (bool, error) {
	return false, errMatch
}

var (
	errMatch = errors.New("cannot tell")
	errWork  = errors.New("work failed")
	refusal  = &mailflow.Reply{Code: 550, Text: "no"}
)

// newTx makes a transaction about the recipients a, b and c.
func newTx() *mailflow.Transaction {
	env := &mailflow.Envelope{From: mailflow.MustParseAddress("from@x.example")}
	for _, local := range []string{"a", "b", "c"} {
		env.Recipients = append(env.Recipients, mailflow.Recipient{Address: mailflow.MustParseAddress(local + "@x.example")})
	}
	return mailflow.NewTransaction(mailflow.Inbound, &mailflow.Peer{}, env, env.Recipients)
}

// state says in short what became of the recipients.
func state(tx *mailflow.Transaction) string {
	var all []string
	for _, v := range tx.Verdicts() {
		s := v.Recipient.Address.Local
		switch {
		case v.Action != nil:
			s += "=" + v.Action.String() + "/" + v.By
		case v.Reply != nil:
			s += "=" + v.Reply.String() + "/" + v.By
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func sees(tx *mailflow.Transaction) string {
	var s string
	for _, r := range tx.Pending() {
		s += r.Address.Local
	}
	return s
}

func claim(reason string) handler {
	return func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
		tx.ClaimAll(mailflow.Drop{Reason: reason})
		return nil
	}
}

func pass(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Trace.Note("sees", sees(tx))
	return next(ctx, tx)
}

func keep(context.Context, *mailflow.Transaction, mailflow.Next) error { return nil }

func fail(err error) handler {
	return func(context.Context, *mailflow.Transaction, mailflow.Next) error { return err }
}

func step(name string, h mailflow.Handler, match ...mailflow.Matcher) mailflow.Step {
	return mailflow.Step{Name: name, Match: match, Handler: h}
}

func TestRouteRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		route mailflow.Route
		want  string
		err   error
	}{
		{"empty", nil, "a b c", nil},
		{"one claims all", mailflow.Route{step("x", claim("1"))}, "a=drop: 1/x b=drop: 1/x c=drop: 1/x", nil},
		{"in order", mailflow.Route{step("x", claim("1"), only("a")), step("y", claim("2"))}, "a=drop: 1/x b=drop: 2/y c=drop: 2/y", nil},
		{"one of several conditions", mailflow.Route{step("x", claim("1"), only("a"), only("c"))}, "a=drop: 1/x b c=drop: 1/x", nil},
		{"all of a set", mailflow.Route{step("x", claim("1"), mailflow.MatcherSet{only("ab"), only("bc")})}, "a b=drop: 1/x c", nil},
		{"a handler that passes on", mailflow.Route{step("x", handler(pass), only("b")), step("y", claim("2"))}, "a=drop: 2/y b=drop: 2/y c=drop: 2/y", nil},
		{"a handler that keeps", mailflow.Route{step("x", handler(keep), only("b")), step("y", claim("2"))}, "a=drop: 2/y b c=drop: 2/y", nil},
		{"a reply refuses the scope", mailflow.Route{step("x", fail(fmt.Errorf("because: %w", refusal)), only("b")), step("y", claim("2"))}, "a=drop: 2/y b=550 no/x c=drop: 2/y", nil},
		{"another error ends it", mailflow.Route{step("x", fail(errWork), only("b")), step("y", claim("2"))}, "a b c", errWork},
		{"an error behind", mailflow.Route{step("x", handler(pass)), step("y", fail(errWork))}, "a b c", errWork},
		{"a matcher that fails", mailflow.Route{step("x", claim("1"), broken{})}, "a b c", errMatch},
		{"nothing pending", mailflow.Route{step("x", claim("1")), step("y", fail(errWork))}, "a=drop: 1/x b=drop: 1/x c=drop: 1/x", nil},
	} {
		tx := newTx()
		if err := c.route.Run(t.Context(), tx, mailflow.Done); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if got := state(tx); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestRouteScopes looks at what is visible where.
func TestRouteScopes(t *testing.T) {
	t.Parallel()
	tx := newTx()
	var seen []string
	look := func(name string) handler {
		return func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
			seen = append(seen, name+" "+sees(tx))
			err := next(ctx, tx)
			seen = append(seen, name+" after "+fmt.Sprint(len(tx.Verdicts())))
			return err
		}
	}
	route := mailflow.Route{step("one", look("one"), only("ab")), step("two", look("two"), only("bc")), step("three", claim("3"), only("a"))}
	if err := route.Run(t.Context(), tx, func(_ context.Context, tx *mailflow.Transaction) error {
		seen = append(seen, "end "+sees(tx))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(seen, ", "), "one ab, two bc, end bc, two after 2, one after 2"; got != want {
		t.Errorf("seen: %s\nwant: %s", got, want)
	}
	if got := len(tx.Verdicts()); got != 3 {
		t.Errorf("the scope is not given back: %d verdicts", got)
	}
}

func TestRouteWithin(t *testing.T) {
	t.Parallel()
	inner := mailflow.Route{step("inner", handler(pass))}
	nest := handler(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
		return tx.Nest(func() error { return inner.Run(ctx, tx, next) })
	})
	tx := newTx()
	route := mailflow.Route{step("before", handler(pass)), step("block", nest, only("b")), step("behind", handler(pass))}
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range tx.Trace.Notes() {
		got = append(got, fmt.Sprintf("%s %s %d", n.Handler, n.Text, n.Depth))
	}
	if s, want := strings.Join(got, ", "), "before abc 0, inner b 1, behind abc 0"; s != want {
		t.Errorf("notes: %s, want %s", s, want)
	}
}

// asked is a handler that answers at RCPT.
type asked struct {
	handler
	prospect mailflow.Prospect
	err      error
}

func (h asked) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return h.prospect, h.err
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (only) EnvelopeOnly() bool { return true }

// content is a matcher that needs the content, of which there is none.
type content struct{}

func (content) Match(context.Context, *mailflow.Transaction, mailflow.Recipient) (bool, error) {
	return false, nil
}

func TestRouteAtRcpt(t *testing.T) {
	t.Parallel()
	rest := asked{prospect: mailflow.ProspectRest}
	none, maybe, silent := asked{prospect: mailflow.ProspectNone}, asked{prospect: mailflow.ProspectMaybe}, asked{prospect: mailflow.ProspectSilent}
	for _, c := range []struct {
		name  string
		route mailflow.Route
		want  error
	}{
		{"nobody to ask", mailflow.Route{step("x", handler(keep))}, nil},
		{"empty", nil, nil},
		{"nobody may", mailflow.Route{step("x", none), step("y", handler(keep))}, mailflow.ReplyUnknownRecipient},
		{"one may", mailflow.Route{step("x", none), step("y", maybe)}, nil},
		{"one is silent", mailflow.Route{step("x", silent)}, nil},
		{"silence is no answer", mailflow.Route{step("x", silent), step("y", none), step("z", silent)}, mailflow.ReplyUnknownRecipient},
		{"condition does not hold", mailflow.Route{step("x", none, only("b"))}, nil},
		{"condition holds", mailflow.Route{step("x", none, only("a"))}, mailflow.ReplyUnknownRecipient},
		{"refused", mailflow.Route{step("x", asked{err: refusal}), step("y", maybe)}, refusal},
		{"first who may", mailflow.Route{step("y", maybe), step("x", asked{err: refusal})}, nil},
		{"rest, alone", mailflow.Route{step("x", rest)}, nil},
		{"rest, nobody before", mailflow.Route{step("x", silent), step("y", rest), step("z", asked{err: refusal})}, nil},
		{"rest, nobody may before", mailflow.Route{step("x", none), step("y", rest), step("z", maybe)}, mailflow.ReplyUnknownRecipient},
		{"rest for others", mailflow.Route{step("x", rest, only("b")), step("y", asked{err: refusal})}, refusal},
		{"unknown refusal", mailflow.Route{step("x", asked{err: refusal}, content{})}, nil},
		{"unknown claim before a refusal", mailflow.Route{step("x", maybe, content{}), step("y", asked{err: refusal})}, nil},
		{"unknown rest before a refusal", mailflow.Route{step("x", rest, content{}), step("y", asked{err: refusal})}, nil},
		{"unknown claim after none", mailflow.Route{step("x", none), step("y", maybe, content{})}, nil},
		{"unknown none", mailflow.Route{step("x", none), step("y", none, content{})}, mailflow.ReplyUnknownRecipient},
		{"not in the set", mailflow.Route{step("x", none), step("y", maybe, mailflow.MatcherSet{content{}, only("b")})}, mailflow.ReplyUnknownRecipient},
		{"perhaps in the set", mailflow.Route{step("x", none), step("y", maybe, mailflow.MatcherSet{content{}, only("a")})}, nil},
		{"error", mailflow.Route{step("x", asked{err: errWork})}, errWork},
		{"matcher that fails", mailflow.Route{step("x", maybe, broken{})}, errMatch},
	} {
		tx := newTx()
		if err := c.route.Rcpt(t.Context(), tx, tx.Pending()[0]); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// panics panics wherever it is asked.
type panics struct{ handler }

func (panics) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	panic("at RCPT")
}

func (panics) Match(context.Context, *mailflow.Transaction, mailflow.Recipient) (bool, error) {
	panic("in a matcher")
}

func (panics) EnvelopeOnly() bool { return true }

func TestRouteCatchesPanics(t *testing.T) {
	t.Parallel()
	maybe := asked{prospect: mailflow.ProspectMaybe}
	for name, route := range map[string]mailflow.Route{
		"handler":                       {step("x", panics{})},
		"matcher":                       {step("x", maybe, panics{})},
		"matcher behind an unknown one": {step("x", maybe, mailflow.MatcherSet{content{}, panics{}})},
	} {
		tx := newTx()
		var caught *mailflow.PanicError
		if err := route.Rcpt(t.Context(), tx, tx.Pending()[0]); !errors.As(err, &caught) || caught.Handler != "x" || len(caught.Stack) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	tx := newTx()
	var caught *mailflow.PanicError
	route := mailflow.Route{step("x", handler(func(context.Context, *mailflow.Transaction, mailflow.Next) error { panic("at DATA") }))}
	if err := route.Run(t.Context(), tx, mailflow.Done); !errors.As(err, &caught) || caught.Value != "at DATA" {
		t.Errorf("running: %v", err)
	}
}

// provided is a handler that wants the services.
type provided struct {
	handler
	got *mailflow.Services
	err error
}

func (h *provided) UseServices(s *mailflow.Services) error {
	h.got = s
	return h.err
}

func TestServices(t *testing.T) {
	t.Parallel()
	s := &mailflow.Services{Matchers: map[string]mailflow.Matcher{"vip": only("a")}}
	h := &provided{}
	st, err := s.Step("h", []string{"vip"}, h)
	if err != nil || h.got != s || st.Name != "h" || len(st.Match) != 1 || st.Handler != mailflow.Handler(h) {
		t.Errorf("step %+v, %v", st, err)
	}
	if _, err := s.Step("h", []string{"nope"}, h); err == nil || !strings.Contains(err.Error(), "handler h: matcher @nope") {
		t.Errorf("an unknown matcher gives %v", err)
	}
	if _, err := s.Step("h", nil, &provided{err: errWork}); !errors.Is(err, errWork) {
		t.Errorf("a handler that refuses gives %v", err)
	}
	ds := mailflow.Domains{
		{Name: "a.example", Catchall: []mailflow.Address{mailflow.MustParseAddress("catchall@a.example")}},
		{Name: "b.example", Default: true, Bounce: []mailflow.Address{mailflow.MustParseAddress("bounce@b.example"), mailflow.MustParseAddress("old@b.example")}},
	}
	if ds.Find("b.example") != &ds[1] || ds.Find("c.example") != nil || ds.Default() != &ds[1] || ds[:1].Default() != &ds[0] || ds[:0].Default() != nil {
		t.Error("domains are not found")
	}
	for text, want := range map[string]bool{"Catchall@a.example": true, "old@b.example": true, "catchall@b.example": false, "x@a.example": false} {
		if ds.Ours(mailflow.MustParseAddress(text)) != want {
			t.Errorf("%s is ours: %v", text, !want)
		}
	}
}
