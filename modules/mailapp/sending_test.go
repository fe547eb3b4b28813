// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(accountTransport))
}

// accountTransport is a transport that logs in, and sends nothing.
type accountTransport struct {
	User string `json:"user,omitempty"`
}

func (*accountTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.account", New: func() caddy.Module { return new(accountTransport) }}
}

func (*accountTransport) Deliver(context.Context, *mailflow.Attempt) ([]mailflow.Result, error) {
	return nil, mailflow.ErrUnreachable
}

func (t *accountTransport) Account() (string, error) {
	if t.User == "locked" {
		return "", errors.New("the account is locked")
	}
	return t.User, nil
}

// TestSending says what decisions learn of the options that are about sending.
func TestSending(t *testing.T) {
	t.Setenv("MAIL_TEST_NAME", "partner.example")
	t.Setenv("MAIL_TEST_LIMIT", "200/day")
	app := provisioned(t, `{
		"behavior": "odoo",
		"domains": {
			"a.example": {
				"default_from": "off", "default_from_filter": ["a.example", "{env.MAIL_TEST_NAME}, x@b.example"],
				"email_from": "Info@A.example", "subaddress": "on", "limit": ["{env.MAIL_TEST_LIMIT}", "14/s"]
			},
			"b.example": {"default": true, "default_from_filter": ["*"], "subaddress": "off"}
		},
		"outgoing": {
			"plain": {"via": {"transport": "capture"}},
			"bulk": {
				"purpose": "mass", "envelope": "login", "null_sender": false, "limit": ["50/h"],
				"via": {"transport": "account", "user": "Bulk@A.example"}
			},
			"kind": {"purpose": "transactional", "envelope": "from", "null_sender": true, "via": {"transport": "account", "user": "locked"}}
		},
		"matchers": {"news": {"from": ["news@a.example"]}, "list": {"header": {"List-Unsubscribe": ["*"]}}},
		"purpose": [{"purpose": "mass", "match": ["news", "list"]}, {"purpose": "transactional", "match": ["news"]}]
	}`)
	s := app.services
	if s.Behavior != mailflow.BehaviorOdoo {
		t.Errorf("behavior %s", s.Behavior)
	}
	type settings struct {
		DefaultFrom, EmailFrom mailflow.Address
		Filter                 []string
		Subaddress, Signs      bool
		Limits                 []mailflow.Limit
	}
	for name, want := range map[string]settings{
		"a.example": {
			EmailFrom: mailflow.MustParseAddress("info@a.example"), Filter: []string{"a.example", "partner.example, x@b.example"},
			Subaddress: true, Limits: []mailflow.Limit{{Count: 200, Per: mailflow.Day}, {Count: 14, Per: 1e9}},
		},
		"b.example": {DefaultFrom: mailflow.MustParseAddress("notifications@b.example"), Filter: []string{"*"}},
	} {
		d := s.Domains.Find(name)
		got := settings{d.DefaultFrom, d.EmailFrom, d.DefaultFromFilter, d.Subaddress, d.Signs, d.Limits}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("domain %s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string]mailflow.Server{
		"plain": {Priority: 10, Envelope: mailflow.EnvelopeBounce, Captures: true},
		"bulk": {
			Priority: 10, Purpose: "mass", Envelope: mailflow.EnvelopeLogin, NoNullSender: true,
			Login: mailflow.MustParseAddress("bulk@a.example"), Limits: []mailflow.Limit{{Count: 50, Per: 3600e9}},
		},
		"kind": {Priority: 10, Purpose: "transactional", Envelope: mailflow.EnvelopeFrom},
	} {
		want.Name = name
		i := slices.IndexFunc(s.Servers, func(s mailflow.Server) bool { return s.Name == name })
		if diff := cmp.Diff(want, s.Servers[i]); diff != "" {
			t.Errorf("server %s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(want, app.config.Servers[name].Server); diff != "" {
			t.Errorf("the engine's server %s (-want +got):\n%s", name, diff)
		}
	}
	if len(s.Purposes) != 2 || s.Purposes[0].Purpose != "mass" || len(s.Purposes[0].Match) != 2 || s.Purposes[1].Purpose != "transactional" {
		t.Errorf("purposes %+v", s.Purposes)
	}
	if got := provisioned(t, `{}`).services; got.Behavior != mailflow.BehaviorDocumented || got.Purposes != nil {
		t.Errorf("behavior %q and purposes %v by default", got.Behavior, got.Purposes)
	}
}

// TestSubaddressAuto: addresses carry a token when the answers come in here.
func TestSubaddressAuto(t *testing.T) {
	for name, tt := range map[string]struct {
		listener string
		want     bool
	}{
		"receives": {`{"protocol": "smtp", "listen": [":25"], "receives": true}`, true},
		"submits":  {`{"protocol": "smtp", "listen": [":25"]}`, false},
	} {
		app := provisioned(t, `{"domains": {"a.example": {"subaddress": "auto"}, "b.example": {}, "off.example": {"subaddress": "off"}},
			"listeners": {"a": `+tt.listener+`}}`)
		for _, d := range app.services.Domains {
			if want := tt.want && d.Name != "off.example"; d.Subaddress != want {
				t.Errorf("%s: domain %s: %t", name, d.Name, d.Subaddress)
			}
		}
	}
}

// TestSendingNotLoaded says which values are refused, whoever wrote them.
func TestSendingNotLoaded(t *testing.T) {
	domain := func(options string) string { return `{"domains": {"a.example": {` + options + `}}}` }
	outgoing := func(options string) string {
		return `{"outgoing": {"a": {` + options + `, "via": {"transport": "capture"}}}}`
	}
	login := func(via string) string { return `{"outgoing": {"a": {"envelope": "login", "via": {` + via + `}}}}` }
	tests := map[string]struct{ mail, want string }{
		"behavior":            {`{"behavior": "odo"}`, `behavior: "odo" is none of ["documented" "odoo"]; did you mean "odoo"?`},
		"default_from":        {domain(`"default_from": "a b"`), "domain a.example: default_from: "},
		"default_from_filter": {domain(`"default_from_filter": ["*", "b.example"]`), `domain a.example: default_from_filter: "*" allows every sender; leave the others out`},
		"email_from":          {domain(`"email_from": "info"`), `domain a.example: email_from: "info" is no full address such as info@example.com`},
		"email_from null":     {domain(`"email_from": "{env.MAIL_TEST_UNSET}"`), "domain a.example: email_from: "},
		"subaddress":          {domain(`"subaddress": "yes"`), `domain a.example: subaddress: "yes" is none of`},
		"domain limit":        {domain(`"limit": ["200"]`), "domain a.example: limit: no limit: \"200\""},
		"two limits":          {domain(`"limit": ["200/day", "300/day"]`), "limit: 200/day and 300/day are for the same period; leave one out"},
		"selector":            {domain(`"dkim": [{"selector": "s 1", "key": "/k"}]`), `domain a.example: dkim: "s 1" is no selector`},
		"key":                 {domain(`"dkim": [{"selector": "s1"}]`), "domain a.example: dkim: selector s1 has no key; write `dkim s1 PATH`"},
		"selector twice":      {domain(`"dkim": [{"selector": "s1", "key": "/k"}, {"selector": "S1", "key": "/l"}]`), "dkim: selector S1 has a key already"},
		"server purpose":      {outgoing(`"purpose": "mas"`), `outgoing a: purpose: "mas" is none of ["transactional" "mass"]; did you mean "mass"?`},
		"envelope":            {outgoing(`"envelope": "form"`), `outgoing a: envelope: "form" is none of ["bounce" "from" "login"]; did you mean "from"?`},
		"server limit":        {outgoing(`"limit": ["0/s"]`), "outgoing a: limit: "},
		"no account":          {login(`"transport": "capture"`), "outgoing a: envelope login: it has no login; write `envelope from` instead"},
		"no login":            {login(`"transport": "account"`), "outgoing a: envelope login: it has no login; add `auth` to its via"},
		"login no address":    {login(`"transport": "account", "user": "apikey"`), `outgoing a: envelope login: "apikey" is no full address`},
		"locked":              {login(`"transport": "account", "user": "locked"`), "envelope login: the account is locked"},
		"purpose of nothing":  {`{"purpose": [{"purpose": "mass"}]}`, "purpose: it does not say which mail has which purpose; write `purpose mass @matcher`"},
		"unknown purpose":     {`{"matchers": {"a": {"from": ["a.example"]}}, "purpose": [{"purpose": "bulk", "match": ["a"]}]}`, `purpose: "bulk" is none of`},
		"purpose matcher":     {`{"purpose": [{"purpose": "mass", "match": ["a"]}]}`, "purpose mass: matcher @a is not defined"},
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

// TestPreset: a preset gives what the server does not say itself.
func TestPreset(t *testing.T) {
	t.Setenv("MAIL_TEST_REGION", "eu-west-1")
	const auth = `"auth": {"user": "me@a.example", "password": "{env.P}"}`
	app := provisioned(t, `{"outgoing": {
		"given": {"preset": "outlook", "via": {"transport": "smtp", `+auth+`}},
		"inside": {"via": {"transport": "smtp", "preset": "gmail", `+auth+`}},
		"both": {"preset": "gmail", "via": {"transport": "smtp", "preset": "gmail", `+auth+`}},
		"region": {"preset": "amazon_ses", "preset_args": ["{env.MAIL_TEST_REGION}"], "via": {"transport": "smtp", `+auth+`}},
		"own": {"preset": "outlook", "envelope": "from", "null_sender": true, "limit": ["5/h"], "via": {"transport": "smtp", "address": "relay.example:2525", `+auth+`}}
	}}`)
	me := mailflow.MustParseAddress("me@a.example")
	for name, want := range map[string]struct {
		host     string
		envelope mailflow.EnvelopeRule
		login    mailflow.Address
	}{
		"given":  {"smtp.office365.com", mailflow.EnvelopeLogin, me},
		"inside": {"smtp.gmail.com", mailflow.EnvelopeLogin, me},
		"both":   {"smtp.gmail.com", mailflow.EnvelopeLogin, me},
		"region": {"email-smtp.eu-west-1.amazonaws.com", mailflow.EnvelopeBounce, mailflow.Address{}},
		"own":    {"relay.example", mailflow.EnvelopeFrom, mailflow.Address{}},
	} {
		s := app.config.Servers[name]
		host, _, err := s.Transport.(endpoint).Endpoint()
		if err != nil || host != want.host || s.Envelope != want.envelope || s.Login != want.login {
			t.Errorf("%s: host %s, envelope %s, login %s, %v; want %+v", name, host, s.Envelope, s.Login, err, want)
		}
	}
	if own := app.config.Servers["own"]; own.NoNullSender || !slices.Equal(own.Limits, []mailflow.Limit{{Count: 5, Per: 3600e9}}) {
		t.Errorf("own: %+v", own.Server)
	}
	if given := app.config.Servers["given"].Limits; !slices.Equal(given, app.Outgoing["given"].provider.Limits) {
		t.Errorf("limits %v of the preset", given)
	}
	for mail, want := range map[string]string{
		`"preset": "postmrk", "via": {"transport": "smtp"}`:                                              `did you mean "postmark"?`,
		`"preset": "postmark", "preset_args": ["eu"], "via": {"transport": "smtp"}`:                      "postmark takes no argument",
		`"preset_args": ["eu"], "via": {"transport": "smtp"}`:                                            "preset_args stand without a preset",
		`"preset": "postmark", "via": {"transport": "lmtp", "address": "unix//x"}`:                       "a preset is for `via smtp`, not for `via lmtp`",
		`"preset": "postmark", "via": {"transport": "smtp", "preset": "gmail"}`:                          "preset gmail stands in via already; leave one out",
		`"preset": "amazon_ses", "preset_args": ["{env.MAIL_TEST_UNSET}"], "via": {"transport": "smtp"}`: "outgoing a: preset: ",
	} {
		if _, err := provision(t, `{"outgoing": {"a": {`+mail+`}}}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want … %s", mail, err, want)
		}
	}
}
