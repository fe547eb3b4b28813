// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// inquiry asks what would become of a message: the body of POST /mail/explain.
type inquiry struct {
	// Out is set to ask about mail that is sent; without it a stranger brings
	// the message.
	Out bool `json:"out,omitempty"`
	// From is the sender of the envelope, "" or "<>" for the null one. Without
	// it that of the message's Return-Path counts, else its author.
	From *string `json:"from,omitempty"`
	// Rcpt are the recipients; without any those that the header names.
	Rcpt []string `json:"rcpt,omitempty"`
	// User has logged in; a user sends.
	User string `json:"user,omitempty"`
	// Listener is where the message comes in; without it the first listener,
	// by name, that takes mail from such a peer.
	Listener string `json:"listener,omitempty"`
	// IP is the peer's address; it may be left out.
	IP string `json:"ip,omitempty"`
	// Message is the mail as text; Base64 as bytes, which a JSON text cannot
	// hold where they are not UTF-8.
	Message string `json:"message,omitempty"`
	Base64  []byte `json:"message_base64,omitempty"`
	// Config is the configuration to explain by: a whole one in Caddy's JSON,
	// or its mail app. Without it the running one counts.
	Config json.RawMessage `json:"config,omitempty"`
}

// introducer is a listener that knows whom it takes mail from.
type introducer interface {
	// Introduce adds to p what the listener's configuration says of such a
	// peer: its protocol and domain, and what is configured for p.User. The
	// error says why it takes no mail from that user, or none to the world if
	// p.Submits and none from strangers if not.
	Introduce(p *mailflow.Peer) error
}

// explain answers by the running configuration, or by the one that q brings.
// Error: [engine.ErrNotRunning] if there is neither.
func explain(ctx context.Context, q *inquiry) (*engine.Explanation, error) {
	running, err := runningApp()
	if len(q.Config) > 0 {
		eng := engine.New(engine.Options{Now: time.Now})
		if err == nil {
			eng = running.engine
		}
		return explainBy(ctx, caddy.ActiveContext(), eng, q)
	}
	if err != nil {
		return nil, err
	}
	question, err := running.question(q)
	if err != nil {
		return nil, err
	}
	return running.engine.Explain(ctx, question)
}

// explainBy answers by the configuration that q brings. Its guests live in a
// context of their own below base, and are cleaned up when it returns.
func explainBy(ctx context.Context, base caddy.Context, eng *engine.Engine, q *inquiry) (*engine.Explanation, error) {
	raw, err := mailConfig(q.Config)
	if err != nil {
		return nil, err
	}
	own, cancel := caddy.NewContext(base)
	defer cancel()
	a, err := unstarted(own, raw)
	if err != nil {
		return nil, fmt.Errorf("the configuration to explain by is refused: %w", err)
	}
	question, err := a.question(q)
	if err != nil {
		return nil, err
	}
	return eng.ExplainBy(ctx, a.config, question)
}

// runningApp returns the app of the configuration that runs now. It is asked
// for each request and never kept. Error: [engine.ErrNotRunning].
func runningApp() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("mail")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return nil, err
	}
	if a, ok := app.(*App); ok && a.engine != nil {
		return a, nil
	}
	return nil, engine.ErrNotRunning
}

// errNoMail refuses a configuration without the app.
var errNoMail = errors.New("the configuration has no mail block to explain by")

// mailConfig returns the mail app of a configuration, which may be that app
// already.
func mailConfig(raw json.RawMessage) (json.RawMessage, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("the configuration is no JSON object; adapt a Caddyfile first: %w", err)
	}
	for _, other := range [...]string{"admin", "logging", "storage", "apps"} {
		if _, whole := keys[other]; !whole {
			continue
		}
		var config struct {
			Apps map[string]json.RawMessage `json:"apps"`
		}
		if err := json.Unmarshal(raw, &config); err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if len(config.Apps["mail"]) == 0 {
			return nil, errNoMail
		}
		return config.Apps["mail"], nil
	}
	return raw, nil
}

// unstarted returns the app that raw describes, with all that decisions need
// and nothing else. It is not loaded as Caddy loads an app: that would put it
// in the place of the one that runs, which ctx belongs to.
func unstarted(ctx caddy.Context, raw json.RawMessage) (*App, error) {
	a := new(App)
	if err := caddy.StrictUnmarshalJSON(raw, a); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	if err := a.provisionDecisions(ctx); err != nil {
		return nil, err
	}
	a.logger = zap.NewNop() // who asks is answered; the log warns of what runs
	return a, a.Validate()
}

// provisionDecisions loads what decides about mail, and makes the engine's
// configuration of it. Doors have no sockets and no certificates, and nobody
// is told of events.
func (a *App) provisionDecisions(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger(a)
	a.config = &engine.Config{
		Grace:     orDefault(a.GracePeriod, engine.DefaultGrace),
		Queue:     a.Queue.policy(),
		Retention: a.Retention.periods(),
		Logger:    a.logger,
		Observe:   a.observe,
	}
	for _, step := range []func() error{
		a.provisionHostname, a.provisionStore, a.loadListeners,
		a.provisionServices, a.provisionSigners, a.provisionRoutes,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.listeners)) {
		if n, ok := a.listeners[name].(mailflow.Named); ok {
			n.SetName(name)
		}
		if err := a.serve(a.listeners[name]); err != nil {
			return fmt.Errorf("listener %s: %w", name, err)
		}
	}
	return nil
}

// question returns q as the engine is asked.
func (a *App) question(q *inquiry) (engine.Question, error) {
	content, err := q.content()
	if err != nil {
		return engine.Question{}, err
	}
	peer, err := a.peer(q)
	if err != nil {
		return engine.Question{}, err
	}
	env := mailflow.Envelope{}
	if env.From, err = q.sender(content); err != nil {
		return engine.Question{}, err
	}
	for _, text := range q.Rcpt {
		addr, err := mailflow.ParseAddress(text)
		if err == nil && addr.IsNull() {
			err = mailflow.ErrAddress
		}
		if err != nil {
			return engine.Question{}, fmt.Errorf("recipient %q: %w", text, err)
		}
		known := func(r mailflow.Recipient) bool { return r.Address.Is(addr) }
		if !slices.ContainsFunc(env.Recipients, known) {
			env.Recipients = append(env.Recipients, mailflow.Recipient{Address: addr})
		}
	}
	return engine.Question{Peer: *peer, Envelope: env, Content: bytes.NewReader(content)}, nil
}

// content returns the message with the line ends of mail.
func (q *inquiry) content() ([]byte, error) {
	if q.Message != "" && len(q.Base64) > 0 {
		return nil, errors.New("the message is there twice: as message and as message_base64")
	}
	text := q.Base64
	if q.Message != "" {
		text = []byte(q.Message)
	}
	if len(text) == 0 {
		return nil, errors.New("there is no message to explain")
	}
	if len(text) > maxExplained {
		return nil, fmt.Errorf("the message is longer than %d bytes", maxExplained)
	}
	return crlf(text), nil
}

// sender returns the sender of the envelope.
func (q *inquiry) sender(content []byte) (mailflow.Address, error) {
	if q.From != nil {
		a, err := mailflow.ParseAddress(strings.TrimSuffix(strings.TrimPrefix(*q.From, "<"), ">"))
		if err != nil {
			return mailflow.Address{}, fmt.Errorf("sender %q: %w", *q.From, err)
		}
		return a, nil
	}
	header := mailflow.ParseHeader(content)
	if header.Has("Return-Path") {
		if as := header.Addresses("Return-Path"); len(as) > 0 {
			return as[0], nil
		}
		return mailflow.Address{}, nil
	}
	return header.From(), nil
}

// peer returns who brings the message.
func (a *App) peer(q *inquiry) (*mailflow.Peer, error) {
	p := mailflow.Peer{Protocol: "ESMTP", User: q.User, Submits: q.Out || q.User != ""}
	if q.User != "" {
		p.Protocol = "ESMTPSA"
	}
	if q.IP != "" {
		ip, err := netip.ParseAddr(q.IP)
		if err != nil {
			return nil, fmt.Errorf("ip %q: %w", q.IP, err)
		}
		p.IP = ip.Unmap()
	}
	names := slices.Sorted(maps.Keys(a.listeners))
	if q.Listener != "" {
		if !slices.Contains(names, q.Listener) {
			return nil, fmt.Errorf("there is no listener %s; there are: %s", q.Listener, strings.Join(names, ", "))
		}
		names = []string{q.Listener}
	}
	var errs []error
	for _, name := range names {
		known := p
		known.Listener = name
		err := introduce(a.listeners[name], &known)
		if err == nil {
			return &known, nil
		}
		errs = append(errs, fmt.Errorf("listener %s: %w", name, err))
	}
	if q.Listener != "" || q.User != "" && len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &p, nil // it comes in by a door that there is not
}

// introduce adds to p what the listener knows of it.
func introduce(listener any, p *mailflow.Peer) error {
	if i, ok := listener.(introducer); ok {
		return i.Introduce(p)
	}
	if p.User != "" {
		return errors.New("it does not say who its users are")
	}
	return nil
}
