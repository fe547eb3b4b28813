// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// adapt returns the JSON of a Caddyfile's global block.
func adapt(t *testing.T, block string) ([]byte, error) {
	t.Helper()
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n"+block+"\n}\n"), map[string]any{"filename": "Caddyfile"})
	return out, err
}

// read returns the app that a Caddyfile's global block describes.
func read(t *testing.T, block string) *App {
	t.Helper()
	out, err := adapt(t, block)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct{ Mail *App }
	}
	if err := caddy.StrictUnmarshalJSON(out, &config); err != nil {
		// The admin API and logs of the block are none of the app's business.
		if err := json.Unmarshal(out, &config); err != nil {
			t.Fatal(err)
		}
	}
	return config.Apps.Mail
}

func TestPiecesMerge(t *testing.T) {
	t.Parallel()
	app := read(t, `
mail {
	hostname mx.example.com
	domain a.example
	smtp :25
	@vip from a@example.com
	queue {
		give_up 1d
	}
	inbound {
		@bulk from b@example.com
		tag @vip @bulk priority high
	}
}
mail {
	domain B.Example. {
		default
	}
	smtp :587
	queue {
		concurrency 5
	}
	retention {
		sent 1d
	}
	outbound {
		hold @vip "not yet"
	}
	@spam from c@example.com
}`)
	if got := slices.Sorted(maps.Keys(app.Domains)); !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("domains %q", got)
	}
	if got := slices.Sorted(maps.Keys(app.ListenersRaw)); !slices.Equal(got, []string{"smtp25", "smtp587"}) {
		t.Errorf("listeners %q", got)
	}
	if got := slices.Sorted(maps.Keys(app.MatchersRaw)); !slices.Equal(got, []string{"bulk", "spam", "vip"}) {
		t.Errorf("matchers %q", got)
	}
	if app.Hostname != "mx.example.com" || app.Queue.GiveUp != caddy.Duration(24*time.Hour) || app.Queue.Concurrency != 5 {
		t.Errorf("hostname %q, queue %+v", app.Hostname, app.Queue)
	}
	if len(app.Routes.Inbound) != 1 || len(app.Routes.Outbound) != 1 {
		t.Errorf("routes %+v", app.Routes)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ block, want string }{
		"unknown option": {"mail {\n\thostnme a\n}", `unrecognized mail option "hostnme"; did you mean "hostname"?, at Caddyfile:3`},
		"later option":   {"mail {\n\tloops\n}", `unrecognized mail option "loops", at Caddyfile:3`},
		"misspelt door":  {"mail {\n\tsmpt :25\n}", `did you mean "smtp"?, at Caddyfile:3`},
		"argument":       {"mail on", "wrong argument count"},

		"scalar twice in a piece":  {"mail {\n\thostname a\n\thostname b\n}", `duplicate mail option "hostname": it has a value already, at Caddyfile:4`},
		"scalar twice":             {"mail {\n\thostname a\n}\nmail {\n\thostname b\n}", `duplicate mail option "hostname": it has a value already, at Caddyfile:6`},
		"store twice":              {"mail {\n\tstore sqlite a\n}\nmail {\n\tstore sqlite b\n}", `duplicate mail option "store"`},
		"route twice":              {"mail {\n\tinbound {\n\t}\n}\nmail {\n\tinbound {\n\t}\n}", `duplicate mail option "inbound"`},
		"queue option twice":       {"mail {\n\tqueue {\n\t\tgive_up 1d\n\t}\n}\nmail {\n\tqueue {\n\t\tgive_up 2d\n\t}\n}", `duplicate queue option "give_up": it has a value already, at Caddyfile:9`},
		"retention option twice":   {"mail {\n\tretention {\n\t\tsent 1d\n\t}\n\tretention {\n\t\tsent 1d\n\t}\n}", `duplicate retention option "sent"`},
		"domain twice":             {"mail {\n\tdomain a.example\n}\nmail {\n\tdomain A.example.\n}", "domain a.example has a block already, at Caddyfile:6"},
		"outgoing twice":           {"mail {\n\toutgoing a {\n\t\tvia capture\n\t}\n\toutgoing a {\n\t\tvia capture\n\t}\n}", "outgoing a has a block already, at Caddyfile:6"},
		"listener twice":           {"mail {\n\tsmtp 127.0.0.1:25\n\tsmtp [::1]:25\n}", "a listener is named smtp25 already; give one of them another `name` in its block, at Caddyfile:4"},
		"matcher twice":            {"mail {\n\t@a from x@example.com\n\t@a from y@example.com\n}", "matcher @a is defined already, at Caddyfile:3"},
		"matcher in two pieces":    {"mail {\n\t@a from x@example.com\n}\nmail {\n\t@a from y@example.com\n}", "matcher @a is defined already, in an earlier mail block, at Caddyfile:6"},
		"nested matcher in pieces": {"mail {\n\t@a from x@example.com\n}\nmail {\n\tinbound {\n\t\t@a from y@example.com\n\t}\n}", "matcher @a is defined already, in an earlier mail block"},

		"domain without name":   {"mail {\n\tdomain\n}", "wrong argument count"},
		"domain malformed":      {"mail {\n\tdomain a..b\n}", `domain: domain "a..b" is malformed, at Caddyfile:3`},
		"domain with slash":     {"mail {\n\tdomain a/b\n}", "at Caddyfile:3"},
		"domain literal":        {"mail {\n\tdomain [192.0.2.1]\n}", "is no name"},
		"domain later":          {"mail {\n\tdomain {env.D}\n}", "write {$NAME}, which is replaced when the Caddyfile is read"},
		"bad mailbox":           {"mail {\n\tdomain a.example {\n\t\tcatchall x \"two words\"\n\t}\n}", "at Caddyfile:4"},
		"no mailbox":            {"mail {\n\tdomain a.example {\n\t\tbounce\n\t}\n}", "wrong argument count"},
		"default_from twice":    {"mail {\n\tdomain a.example {\n\t\tdefault_from x y\n\t}\n}", "wrong argument count"},
		"default with argument": {"mail {\n\tdomain a.example {\n\t\tdefault yes\n\t}\n}", "wrong argument count"},

		"outgoing without name": {"mail {\n\toutgoing {\n\t}\n}", "outgoing: the name is missing, at Caddyfile:3"},
		"outgoing with slash":   {"mail {\n\toutgoing a/b {\n\t\tvia capture\n\t}\n}", `outgoing: "a/b" is no name: it takes letters, digits, and the signs . _ -, at Caddyfile:3`},
		"outgoing without via":  {"mail {\n\toutgoing a {\n\t\tpriority 5\n\t}\n}", "outgoing a does not say how it is reached; add `via smtp HOST:PORT`"},
		"unknown transport":     {"mail {\n\toutgoing a {\n\t\tvia smpt\n\t}\n}", `unrecognized transport "smpt"; did you mean "smtp"?, at Caddyfile:4`},
		"priority":              {"mail {\n\toutgoing a {\n\t\tpriority 0\n\t\tvia capture\n\t}\n}", "0 is not between 1 and"},
		"filter":                {"mail {\n\toutgoing a {\n\t\tfrom_filter x.example *\n\t\tvia capture\n\t}\n}", `option from_filter: no sender filter: "*": leave the filter out to allow every sender, at Caddyfile:4`},

		"no port":                          {"mail {\n\tsmtp 127.0.0.1\n}", `option smtp: address "127.0.0.1": it has no port; write one, such as :25 or 127.0.0.1:2525, at Caddyfile:3`},
		"bad port":                         {"mail {\n\tsmtp :99999\n}", "at Caddyfile:3"},
		"datagrams":                        {"mail {\n\tsmtp udp/:25\n}", "network udp cannot be listened on; write HOST:PORT or unix//PATH, at Caddyfile:3"},
		"listener name":                    {"mail {\n\tsmtp :25 {\n\t\tname a/b\n\t}\n}", `"a/b" is no name`},
		"concurrency":                      {"mail {\n\tqueue {\n\t\tconcurrency 0\n\t}\n}", "0 is not between 1 and 1000, at Caddyfile:4"},
		"pause":                            {"mail {\n\tqueue {\n\t\tretry 1m soon\n\t}\n}", "at Caddyfile:4"},
		"route with name":                  {"mail {\n\tinbound main {\n\t}\n}", "wrong argument count"},
		"unknown handler":                  {"mail {\n\tinbound {\n\t\tunruted\n\t}\n}", `unrecognized handler "unruted"; did you mean "unrouted"?, at Caddyfile:4`},
		"unknown matcher in a later piece": {"mail {\n\t@vip from a@example.com\n}\nmail {\n\tinbound {\n\t\tdrop @vpi\n\t}\n}", "matcher @vpi is not defined; did you mean @vip?, at Caddyfile:7"},
		"unknown matcher":                  {"mail {\n\t@vip from a@example.com\n\tinbound {\n\t\tdrop @vpi\n\t}\n}", "matcher @vpi is not defined; did you mean @vip?, at Caddyfile:5"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt(t, tt.block)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant … %s", err, tt.want)
			}
		})
	}
}

func TestListenerNames(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"smtp :25":                                   "smtp25",
		"smtp 127.0.0.1:2525":                        "smtp2525",
		"smtp :465 :587":                             "smtp465",
		"smtp :2525-2527":                            "smtp2525",
		"smtp tcp6/[::1]:26":                         "smtp26",
		"smtp 127.0.0.1:0":                           "smtp",
		"smtp unix//run/mail.sock":                   "smtp",
		"smtp {env.ADDRESS}":                         "smtp",
		"smtp :25 {\n\tname submission\n}":           "submission",
		"smtp unix//run/mail.sock|0222 {\nname a\n}": "a",
	} {
		app := read(t, "mail {\n"+line+"\n}")
		if got := slices.Sorted(maps.Keys(app.ListenersRaw)); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: names %q, want %q", line, got, want)
		}
	}
}
