// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/mailroute"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("mail", parseMail)
}

// parseMail reads one piece of the mail block and adds it to the earlier ones.
// Syntax:
//
//	mail {
//		hostname     <name>
//		grace_period <duration>
//		behavior     documented|odoo
//		store        <store> [<arguments...>] {
//			...
//		}
//
//		# May stand more than once.
//		domain <name> {
//			...
//		}
//		alias <address> {
//			...
//		}
//		outgoing <name> {
//			...
//		}
//		smtp <addresses...> {
//			...
//		}
//		lmtp <addresses...> {
//			...
//		}
//		@<name> <matcher> [<arguments...>]
//		purpose transactional|mass @<name>...
//
//		dns {
//			...
//		}
//		queue {
//			...
//		}
//		retention {
//			...
//		}
//		inbound {
//			...
//		}
//		outbound {
//			...
//		}
//	}
//
// Every module mail.listeners.* can stand where smtp does.
func parseMail(d *caddyfile.Dispenser, existing any) (any, error) {
	p, err := continuing(existing)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	options := caddyblock.Options{
		"hostname":     caddyblock.String(&p.app.Hostname),
		"grace_period": caddyblock.Duration(&p.app.GracePeriod),
		"behavior":     caddyblock.Enum(&p.app.Behavior, behaviors...),
		"store":        caddyblock.Guest(&p.app.StoreRaw, "mail.stores", "module", "store"),
		"domain":       caddyblock.Func(p.app.readDomain).Many(),
		"alias":        caddyblock.Func(p.app.readAlias).Many(),
		"outgoing":     caddyblock.Func(p.app.readOutgoing).Many(),
		"smtp":         caddyblock.Func(p.app.readListener).Many(),
		"purpose":      caddyblock.Func(p.readPurpose).Many(),
		"dns":          caddyblock.Sub(p.app.DNS.options()),
		"queue":        caddyblock.Func(p.app.Queue.block(p.queueSeen).ReadRest).Many(),
		"retention":    caddyblock.Func(p.app.Retention.block(p.retentionSeen).ReadRest).Many(),
		"inbound":      readRoute(&p.app.Routes.Inbound, &p.defs),
		"outbound":     readRoute(&p.app.Routes.Outbound, &p.defs),
	}
	for _, info := range caddy.GetModules("mail.listeners") {
		if _, ok := options[info.ID.Name()]; !ok {
			options[info.ID.Name()] = caddyblock.Func(p.app.readListener).Many()
		}
	}
	if err := (caddyblock.Block{Options: options, Other: p.readOther, Seen: p.seen}).Read(d); err != nil {
		return nil, err
	}
	if err := p.addMatchers(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "mail", Value: caddyconfig.JSON(p.app, nil)}, nil
}

// piece is what one `mail` block is read into: the app as the earlier pieces
// left it, and what they have set.
type piece struct {
	app                            *App
	seen, queueSeen, retentionSeen caddyblock.Seen
	defs                           mailroute.Definitions
}

// continuing returns the piece that goes on where the earlier ones ended.
func continuing(existing any) (*piece, error) {
	p := &piece{
		app:  new(App),
		seen: make(caddyblock.Seen), queueSeen: make(caddyblock.Seen), retentionSeen: make(caddyblock.Seen),
	}
	earlier, ok := existing.(httpcaddyfile.App)
	if !ok {
		return p, nil
	}
	if err := json.Unmarshal(earlier.Value, p.app); err != nil {
		return nil, fmt.Errorf("continuing the mail block: %w", err)
	}
	var set struct {
		Queue, Retention, Routes map[string]json.RawMessage
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(earlier.Value, &set); err != nil {
		return nil, fmt.Errorf("continuing the mail block: %w", err)
	}
	if err := json.Unmarshal(earlier.Value, &top); err != nil {
		return nil, fmt.Errorf("continuing the mail block: %w", err)
	}
	note(p.seen, top)
	note(p.seen, set.Routes)
	note(p.queueSeen, set.Queue)
	note(p.retentionSeen, set.Retention)
	return p, nil
}

// note marks the options that an earlier piece has set.
func note(seen caddyblock.Seen, set map[string]json.RawMessage) {
	for name := range set {
		seen[name] = true
	}
}

// readOther reads the definition of a named matcher.
func (p *piece) readOther(d *caddyfile.Dispenser) error {
	if !mailroute.IsDefinition(d) {
		return caddyblock.ErrUnknown
	}
	name := strings.TrimPrefix(d.Val(), "@")
	if _, ok := p.app.MatchersRaw[name]; ok {
		return d.Errf("matcher @%s is defined already, in an earlier mail block", name)
	}
	return p.defs.Parse(d)
}

// addMatchers adds the matchers that this piece has defined. A use of one that
// neither it nor an earlier piece defines is refused here, where its line is
// known.
func (p *piece) addMatchers(d *caddyfile.Dispenser) error {
	if err := p.defs.Check(p.app.MatchersRaw); err != nil {
		return err
	}
	for name, set := range p.defs.Sets() {
		if _, ok := p.app.MatchersRaw[name]; ok {
			return d.Errf("matcher @%s is defined already, in an earlier mail block", name)
		}
		put(&p.app.MatchersRaw, name, set)
	}
	return nil
}

// readListener reads a listener; d stands on its protocol.
func (a *App) readListener(d *caddyfile.Dispenser) error {
	protocol := d.Val()
	err := ahead(d, func(arg string) error {
		_, err := parseAddress(arg)
		return err
	})
	if err != nil {
		return err
	}
	start := *d
	raw, err := caddyblock.Module(d, "mail.listeners", "protocol", "listener")
	if err != nil {
		return err
	}
	name, raw, err := cutName(raw)
	if err != nil {
		return d.WrapErr(err)
	}
	if name == "" {
		peek := start
		peek.NextArg()
		name = listenerName(protocol, peek.Val())
	}
	if err := checkName(name); err != nil {
		return start.Errf("%s: %w", protocol, err)
	}
	if _, ok := a.ListenersRaw[name]; ok {
		return start.Errf("a listener is named %s already; give one of them another `name` in its block", name)
	}
	put(&a.ListenersRaw, name, raw)
	return nil
}

// cutName takes the name that a listener gives itself out of its JSON, where
// it is the key of the map.
func cutName(raw json.RawMessage) (string, json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", nil, fmt.Errorf("reading the listener: %w", err)
	}
	named, ok := fields["name"]
	if !ok {
		return "", raw, nil
	}
	var name string
	if err := json.Unmarshal(named, &name); err != nil {
		return "", nil, fmt.Errorf("reading the listener's name: %w", err)
	}
	delete(fields, "name")
	raw, err := json.Marshal(fields)
	return name, raw, err
}

// listenerName returns the name of a listener that gives itself none: protocol
// and first port, or the protocol alone where there is no fixed port.
func listenerName(protocol, address string) string {
	na, err := caddy.ParseNetworkAddress(address)
	if err != nil || na.StartPort == 0 {
		return protocol
	}
	return protocol + strconv.FormatUint(uint64(na.StartPort), 10)
}
