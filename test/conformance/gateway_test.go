// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/mailcaddy/mailcaddy"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func init() { caddy.RegisterModule(new(traceKeeper)) }

// traceKeeper is a handler that keeps the codes of deliberate differences in
// the traces of what the handlers behind it decide.
type traceKeeper struct{}

// CaddyModule returns the Caddy module information.
func (*traceKeeper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.keep_trace", New: func() caddy.Module { return new(traceKeeper) }}
}

var kept struct {
	sync.Mutex

	codes []string
}

// Handle implements mailflow.Handler.
func (*traceKeeper) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	err := next(ctx, tx)
	kept.Lock()
	defer kept.Unlock()
	for _, n := range tx.Trace.Notes() {
		if strings.HasPrefix(n.Code, fix) {
			kept.codes = append(kept.codes, n.Code)
		}
	}
	return err
}

// takeCodes returns the codes since the last call.
func takeCodes() []string {
	kept.Lock()
	defer kept.Unlock()
	codes := kept.codes
	kept.codes = nil
	return codes
}

// cli is the name of the server that stands for the one of Odoo's
// configuration file.
const cli = "cli"

// patience is how long a mail may take through the gateway.
const patience = time.Minute

// gateway is the gateway in this process, with a far end for each server.
type gateway struct {
	socket  string
	servers []string // names
	relays  map[string]*mailflowtest.Relay
	address map[string]string
	seen    map[string]int // mails that were looked at, by server
}

// startGateway starts the far ends of servers of these names.
func startGateway(t *testing.T, names []string) *gateway {
	t.Helper()
	g := &gateway{
		socket: filepath.Join(t.TempDir(), "in.sock"),
		relays: make(map[string]*mailflowtest.Relay), address: make(map[string]string), seen: make(map[string]int),
	}
	slices.Sort(names)
	g.servers = slices.Compact(names)
	for _, name := range g.servers {
		r := new(mailflowtest.Relay)
		g.relays[name], g.address[name] = r, r.Start(t)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// object is a JSON object.
type object map[string]any

// config returns the gateway's configuration for a case.
func (g *gateway) config(c *selectionCase) ([]byte, error) {
	last := object{"default": true, "via": g.via(cli)}
	domains := object{}
	filter := c.Config.CliFromFilter
	if name, d := domainOf(c); name != "" {
		domains[name] = d
	}
	if c.Config.Domain == "" && c.Config.DefaultFromFilter != "" {
		filter = c.Config.DefaultFromFilter
	}
	setFilter(last, "from_filter", filter)
	outgoing := object{cli: last}
	for _, s := range c.Servers {
		if !s.Active {
			continue
		}
		server := object{"priority": s.Priority, "via": g.via(s.Name)}
		setFilter(server, "from_filter", s.FromFilter)
		if s.Name == c.Mail.Server {
			server["purpose"] = mailflow.PurposeMass
		}
		outgoing[s.Name] = server
	}
	return g.whole(object{"behavior": mailflow.BehaviorOdoo, "domains": domains, "outgoing": outgoing})
}

// whole returns the configuration of a gateway whose mail app has these parts.
func (g *gateway) whole(mail object) ([]byte, error) {
	var route []object
	for _, handler := range []string{"keep_trace", "classify", "choose_server", "rewrite_from", "limit", "sign"} {
		route = append(route, object{"handle": object{"handler": handler}})
	}
	mail["hostname"], mail["store"], mail["routes"] = "mx.acme.example", object{"module": "memory"}, object{"outbound": route}
	mail["listeners"] = object{"in": object{"protocol": "smtp", "listen": []string{"unix/" + g.socket}}}
	return json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "PANIC"}}},
		"apps":    object{"mail": mail},
	})
}

// via returns the transport to the far end of a server.
func (g *gateway) via(name string) object {
	return object{"transport": "smtp", "address": g.address[name]}
}

// domainOf returns the domain block of a case. Without a domain, an address
// that Odoo sends from by itself still has one.
func domainOf(c *selectionCase) (string, object) {
	cfg := c.Config
	if cfg.Domain == "" {
		_, name, _ := strings.Cut(cfg.CliEmailFrom, "@")
		return name, object{"default_from": cfg.CliEmailFrom, "bounce": []string{cfg.CliEmailFrom}}
	}
	d := object{"default_from": "off"}
	if cfg.DefaultFrom != "" {
		d["default_from"] = cfg.DefaultFrom
	}
	if cfg.BounceAlias != "" {
		d["bounce"] = []string{cfg.BounceAlias}
	}
	if cfg.CatchallAlias != "" {
		d["catchall"] = []string{cfg.CatchallAlias}
	}
	if cfg.CliEmailFrom != "" {
		d["email_from"] = cfg.CliEmailFrom
	}
	setFilter(d, "default_from_filter", cfg.DefaultFromFilter)
	return cfg.Domain, d
}

// setFilter sets a filter that is not empty.
func setFilter(o object, key, filter string) {
	if filter != "" {
		o[key] = []string{filter}
	}
}

// play configures the gateway for a case and sends its mail.
func (g *gateway) play(t *testing.T, c *selectionCase) verdict {
	t.Helper()
	v := verdict{ID: c.ID, Got: sentBy{Sent: []sentMail{}}}
	config, err := g.config(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		v.Verdict = fix + refusalCode(err)
		v.Got.Failure = &failure{State: "refused", Reason: err.Error()}
		return v
	}
	takeCodes()
	rcpts := recipients(c.Mail.To)
	if err := g.submit(t.Context(), message(c), rcpts); err != nil {
		v.Got.Failure = &failure{State: "exception", Reason: err.Error()}
	} else if v.Got.Sent = g.arrived(len(rcpts)); len(v.Got.Sent) == 0 {
		v.Got.Failure = &failure{State: "lost", Reason: "it was accepted and did not arrive"}
	}
	v.Verdict = judge(v.Got, c.Expect["17.0"], takeCodes())
	return v
}

// refusalCode returns the code of a configuration that is refused.
func refusalCode(err error) string {
	if errors.Is(err, relay.ErrFilter) || strings.Contains(err.Error(), "from_filter") {
		return "filter_syntax"
	}
	return "params"
}

// recipients returns the addresses in a To field; without any the text itself,
// which a server then refuses.
func recipients(to string) []string {
	var rcpts []string
	for _, a := range mailflow.ParseHeader([]byte("To: " + to + "\r\n\r\n")).Addresses("To") {
		rcpts = append(rcpts, a.String())
	}
	if len(rcpts) == 0 {
		return []string{to}
	}
	return rcpts
}

// submit hands a mail in.
func (g *gateway) submit(ctx context.Context, mail string, rcpts []string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", g.socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := client.Hello("app.acme.example"); err != nil {
		return err
	}
	if err := client.Mail("application@app.example"); err != nil {
		return err
	}
	for _, r := range rcpts {
		if err := client.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// message returns the mail of a case as an application writes it.
func message(c *selectionCase) string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, strings.NewReplacer("\r\n", "\r\n ", "\n", "\r\n ").Replace(value))
		}
	}
	field("Return-Path", c.Mail.ReturnPath)
	field("From", c.Mail.From)
	field("To", c.Mail.To)
	field("Subject", c.ID)
	field("Message-Id", "<"+c.ID+"@app.example>")
	field("Date", "Mon, 02 Mar 2026 10:29:58 +0000")
	if c.Mail.Server != "" {
		field("X-Mail-Purpose", mailflow.PurposeMass)
	}
	return b.String() + "\r\nHello.\r\n"
}

// arrived returns the mails that reached a far end since the last call, when
// they have that many recipients.
func (g *gateway) arrived(rcpts int) []sentMail {
	sent := []sentMail{}
	for deadline := time.Now().Add(patience); rcpts > 0 && time.Now().Before(deadline); time.Sleep(200 * time.Microsecond) {
		for _, name := range g.servers {
			messages := g.relays[name].Messages()
			for _, m := range messages[g.seen[name]:] {
				sent = append(sent, received(name, m))
				rcpts -= len(m.Rcpt)
			}
			g.seen[name] = len(messages)
		}
	}
	return sent
}

// received returns a mail as a far end sees it.
func received(server string, m mailflowtest.RelayMessage) sentMail {
	h := mailflow.ParseHeader(m.Content)
	s := sentMail{Server: server, MailFrom: path(m.Mail), HeaderFrom: headerFrom(m.Content)}
	for _, r := range m.Rcpt {
		s.RcptTo = append(s.RcptTo, path(r))
	}
	if h.Has("Return-Path") {
		s.HeaderReturnPath = new(h.Get("Return-Path"))
	}
	if h.Has("Reply-To") {
		s.HeaderReplyTo = new(h.Get("Reply-To"))
	}
	return s
}

// path returns the address of a MAIL or RCPT argument.
func path(arg string) string {
	_, rest, _ := strings.Cut(arg, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

// headerFrom returns the From field as the recorder wrote it down: decoded,
// and a display name in quotes only where it needs them.
func headerFrom(content []byte) string {
	fields := textproto.MIMEHeader{}
	for _, f := range mailflow.ParseHeader(content).Fields() {
		fields.Add(f.Name, f.Text())
	}
	from := fields.Get("From")
	name, rest, ok := cutLast(from, "<")
	if !ok {
		return from
	}
	name = strings.TrimSpace(name)
	if inner, ok := strings.CutPrefix(name, `"`); ok && strings.HasSuffix(inner, `"`) {
		plain := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(inner, `"`))
		if !strings.ContainsAny(plain, `()<>@,:;."[]\`) {
			name = plain
		}
	} else if strings.ContainsAny(name, `()<>@,:;."[]\`) {
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	address, _, _ := strings.Cut(rest, ">")
	if name == "" {
		return address
	}
	return name + " <" + address + ">"
}

// cutLast splits s at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
