// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// provision loads the app that the JSON describes, as `caddy validate` does.
// Caddy's context is one for the process, so these tests take turns.
func provision(t *testing.T, mail string) (*App, error) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		AppsRaw: caddy.ModuleMap{"mail": json.RawMessage(mail)},
		Admin:   &caddy.AdminConfig{Disabled: true},
	})
	if err != nil {
		return nil, err
	}
	app, err := ctx.App("mail")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App), nil
}

func provisioned(t *testing.T, mail string) *App {
	t.Helper()
	app, err := provision(t, mail)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func TestDefaults(t *testing.T) {
	app := provisioned(t, `{"domains": {"mycompany.com": {}}, "listeners": {"in": {"protocol": "smtp", "listen": ["127.0.0.1:25"]}}}`)
	cfg := app.config
	if cfg.Hostname == "" {
		t.Error("no hostname")
	}
	if cfg.Grace != engine.DefaultGrace || cfg.Queue.GiveUp != engine.DefaultGiveUp ||
		cfg.Queue.Concurrency != engine.DefaultConcurrency || !slices.Equal(cfg.Queue.Retry, engine.DefaultRetry) ||
		cfg.Retention != engine.DefaultRetention {
		t.Errorf("grace %v, queue %+v, retention %+v", cfg.Grace, cfg.Queue, cfg.Retention)
	}
	if cfg.Store.Identity() != "fake " {
		t.Errorf("store %s", cfg.Store.Identity())
	}
	want := mailflow.Domain{
		Name:        "mycompany.com",
		Catchall:    []mailflow.Address{{Local: "catchall", Domain: "mycompany.com"}},
		Bounce:      []mailflow.Address{{Local: "bounce", Domain: "mycompany.com"}},
		DefaultFrom: mailflow.Address{Local: "notifications", Domain: "mycompany.com"},
	}
	if len(cfg.Domains) != 1 || fmt.Sprint(cfg.Domains[0]) != fmt.Sprint(want) {
		t.Errorf("domains %v, want %v", cfg.Domains, want)
	}
	if got := names(cfg.Inbound); !slices.Equal(got, []string{"authenticate", "dedupe", "replies", "aliases", "catchall", "fallback", "unrouted"}) {
		t.Errorf("inbound %q", got)
	}
	if got := names(cfg.Outbound); !slices.Equal(got, []string{"classify", "choose_server", "rewrite_from", "limit", "sign"}) {
		t.Errorf("outbound %q", got)
	}
	if len(cfg.Doors) != 1 || cfg.Doors[0].Name != "in" || cfg.Doors[0].Sockets[0].Key != "tcp/127.0.0.1:25" {
		t.Errorf("doors %+v", cfg.Doors)
	}
	if s := cfg.Doors[0].Listener.(*fakeListener).services; s == nil || s.Hostname != cfg.Hostname || s.Resolver == nil {
		t.Errorf("the listener's services are %+v", s)
	}
	found := app.lint()
	if len(found) != 1 || !strings.Contains(found[0].message, "captured") {
		t.Errorf("lint %+v", found)
	}
}

func names(route mailflow.Route) []string {
	var names []string
	for _, step := range route {
		names = append(names, step.Name)
	}
	return names
}

func TestConfiguration(t *testing.T) {
	t.Setenv("MAIL_TEST_NAME", "MX.Example.com")
	app := provisioned(t, `{
		"hostname": "{env.MAIL_TEST_NAME}",
		"grace_period": "5s",
		"store": {"module": "sqlite", "path": "/there"},
		"domains": {
			"B.example": {"catchall": [" Replies", "old@A.example"], "bounce": ["b"], "default_from": "{env.MAIL_TEST_NAME}@c.example"},
			"a.example": {"default": true}
		},
		"outgoing": {
			"z": {"priority": 5, "via": {"transport": "capture"}},
			"y": {"via": {"transport": "capture"}, "from_filter": ["{env.MAIL_TEST_NAME}, info@b.example"]},
			"a": {"default": true, "via": {"transport": "capture"}}
		},
		"matchers": {"vip": {"from": ["a@b.example"]}},
		"routes": {
			"inbound": [{"match": ["vip"], "handle": {"handler": "unrouted"}}],
			"outbound": [{"handle": {"handler": "choose_server"}}, {"handle": {"handler": "drop"}}]
		},
		"queue": {"retry": ["1s", "2s"], "give_up": "1h", "concurrency": 3},
		"retention": {"sent": "1h"}
	}`)
	cfg := app.config
	if cfg.Hostname != "mx.example.com" || cfg.Grace != 5*time.Second || cfg.Store.Identity() != "fake /there" {
		t.Errorf("hostname %q, grace %v, store %s", cfg.Hostname, cfg.Grace, cfg.Store.Identity())
	}
	var domains []string
	for _, d := range cfg.Domains {
		domains = append(domains, fmt.Sprintln(d.Name, d.Default, d.Catchall, d.Bounce, d.DefaultFrom))
	}
	if !slices.Equal(domains, []string{
		"a.example true [catchall@a.example] [bounce@a.example] notifications@a.example\n",
		"b.example false [replies@b.example old@a.example] [b@b.example] mx.example.com@c.example\n",
	}) {
		t.Errorf("domains %q", domains)
	}
	var order []string
	for _, s := range app.services.Servers {
		order = append(order, s.Name)
	}
	if !slices.Equal(order, []string{"z", "a", "y"}) {
		t.Errorf("servers %q", order)
	}
	if y := cfg.Servers["y"]; y.Priority != 10 || !slices.Equal(y.FromFilter, []string{"MX.Example.com, info@b.example"}) {
		t.Errorf("server y %+v", y)
	}
	if got := names(cfg.Inbound); !slices.Equal(got, []string{"unrouted", "unrouted"}) {
		t.Errorf("inbound %q: the first one takes only some", got)
	}
	if got := names(cfg.Outbound); !slices.Equal(got, []string{"choose_server", "drop"}) {
		t.Errorf("outbound %q", got)
	}
	if fmt.Sprint(cfg.Queue) != "{[1s 2s] 1h0m0s 3}" || cfg.Retention.Sent != time.Hour {
		t.Errorf("queue %v, retention %v", cfg.Queue, cfg.Retention)
	}
}

func TestNotLoaded(t *testing.T) {
	tests := map[string]struct{ mail, want string }{
		"hostname":          {`{"hostname": "a b"}`, "hostname: domain"},
		"unset hostname":    {`{"hostname": "{env.MAIL_TEST_UNSET}"}`, "hostname: "},
		"unknown store":     {`{"store": {"module": "sqlit"}}`, "loading the mail store"},
		"two defaults":      {`{"domains": {"a.example": {"default": true}, "b.example": {"default": true}}}`, "the domains a.example and b.example both say default; only one can"},
		"two spellings":     {`{"domains": {"bücher.example": {}, "xn--bcher-kva.example": {}}}`, "domain xn--bcher-kva.example is configured twice, in two spellings"},
		"catchall":          {`{"domains": {"a.example": {"catchall": ["a b"]}}}`, "domain a.example: catchall: "},
		"two servers":       {`{"outgoing": {"a": {"default": true, "via": {"transport": "capture"}}, "b": {"default": true, "via": {"transport": "capture"}}}}`, "the outgoing servers a and b both say default; only one can"},
		"server name":       {`{"outgoing": {"a/b": {"via": {"transport": "capture"}}}}`, "is no name"},
		"null server":       {`{"outgoing": {"a": null}}`, "does not say how it is reached"},
		"filter":            {`{"outgoing": {"a": {"from_filter": ["*"], "via": {"transport": "capture"}}}}`, "outgoing a: from_filter: "},
		"priority":          {`{"outgoing": {"a": {"priority": -1, "via": {"transport": "capture"}}}}`, "priority -1 is not between"},
		"listener name":     {`{"listeners": {"a/b": {"protocol": "smtp", "listen": [":25"]}}}`, "is no name"},
		"no address":        {`{"listeners": {"a": {"protocol": "smtp"}}}`, "listener a: it has no address"},
		"one address twice": {`{"listeners": {"a": {"protocol": "smtp", "listen": ["localhost:25"]}, "b": {"protocol": "smtp", "listen": ["127.0.0.1:25"]}}}`, "the listeners a and b both listen on tcp/127.0.0.1:25; give one another address"},
		"unknown matcher":   {`{"routes": {"inbound": [{"match": ["vip"], "handle": {"handler": "drop"}}]}}`, "inbound route: handler drop: matcher @vip is not defined"},
		"wrong route":       {`{"routes": {"inbound": [{"handle": {"handler": "choose_server"}}]}}`, "handler choose_server belongs into the outbound route"},
		"grace":             {`{"grace_period": -1}`, "grace_period is negative"},
		"retry":             {`{"queue": {"retry": ["0s"]}}`, "a retry pause is not positive"},
		"concurrency":       {`{"queue": {"concurrency": 1001}}`, "is not between 1 and 1000"},
		"retention":         {`{"retention": {"sent": -1}}`, "a period is negative"},
		"seen":              {`{"retention": {"seen": "9d"}}`, "seen is 216h0m0s and must be at least 240h0m0s"},
		"unknown key":       {`{"hostnme": "a"}`, "hostnme"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := provision(t, tt.mail)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant … %s", err, tt.want)
			}
		})
	}
}

// TestStartUndoes starts an app whose store fails: the engine is let go of.
func TestStartUndoes(t *testing.T) {
	app := provisioned(t, `{}`)
	if err := app.Start(); err == nil || !strings.Contains(err.Error(), errFakeStore.Error()) {
		t.Fatalf("got %v", err)
	}
	if refs, ok := engines.References(engineKey); ok {
		t.Errorf("the engine has %d users left", refs)
	}
	if err := app.Stop(); err != nil {
		t.Errorf("stopping what was not started: %v", err)
	}
	if _, err := Live(); err == nil {
		t.Error("an engine is live")
	}
}
