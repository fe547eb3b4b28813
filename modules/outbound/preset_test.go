// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// caddyContext is what a module is provisioned with.
func caddyContext(t *testing.T) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	return ctx
}

func TestPresetCaddyfile(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]string{
		"smtp {\n preset postmark\n}":                               `{"preset":"postmark"}`,
		"smtp {\n preset amazon_ses eu-west-1\n tls implicit\n}":    `{"preset":"amazon_ses","preset_args":["eu-west-1"],"tls":"implicit"}`,
		"smtp {\n preset amazon_ses {env.AWS_REGION}\n}":            `{"preset":"amazon_ses","preset_args":["{env.AWS_REGION}"]}`,
		"smtp relay.example:2525 {\n preset sendinblue\n}":          `{"preset":"sendinblue","address":"relay.example:2525"}`,
		"smtp {\n auth plain apikey {env.KEY}\n preset sendgrid\n}": `{"preset":"sendgrid","auth":{"mechanism":"plain","user":"apikey","password":"{env.KEY}"}}`,
	} {
		d := caddyfile.NewTestDispenser(segment)
		d.Next()
		guest, err := caddyfile.UnmarshalModule(d, "mail.transports.smtp")
		if err != nil {
			t.Errorf("%s: %v", segment, err)
			continue
		}
		if got, err := json.Marshal(guest); err != nil || string(got) != want {
			t.Errorf("%s:\n got %s %v\nwant %s", segment, got, err, want)
		}
	}
}

func TestPresetRefused(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]string{
		"smtp {\n preset postmrk\n}":                         `option preset: no such preset: "postmrk"; did you mean "postmark"?, at Testfile:2`,
		"smtp {\n preset amazon_ses ireland\n}":              `"ireland" is no region; write one such as eu-west-1, at Testfile:2`,
		"smtp {\n preset postmrk {env.REGION}\n}":            `did you mean "postmark"?, at Testfile:2`,
		"smtp {\n preset amazon_ses {env.PRESET_UNSET}\n}":   "reading the argument of the preset",
		"smtp {\n preset\n}":                                 "wrong argument count",
		"smtp {\n preset postmark\n preset mailjet\n}":       `duplicate smtp option "preset"`,
		"smtp a.example b.example {\n preset postmark\n}":    "wrong argument count",
		"lmtp a.example {\n preset postmark\n}":              `unrecognized lmtp option "preset"`,
		"smtp {\n preset sendgrid\n auth plain anna \"\"\n}": "auth needs a user and a password",
	} {
		if _, err := load(t, segment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", segment, err, want)
		}
	}
	args := &SMTP{PresetArgs: []string{"eu-west-1"}}
	if err := args.Provision(caddyContext(t)); err == nil {
		t.Error("arguments without a preset were taken")
	}
}

// TestPresetDefaults: what is written counts more than the preset.
func TestPresetDefaults(t *testing.T) {
	t.Setenv("PRESET_REGION", "eu-central-1")
	type dial struct {
		Host string
		Port uint16
		TLS  smtprelay.TLSMode
	}
	required, implicit := smtprelay.TLSRequired, smtprelay.TLSImplicit
	for segment, want := range map[string]dial{
		"smtp {\n preset postmark\n}":                       {"smtp.postmarkapp.com", 587, required},
		"smtp {\n preset amazon_ses {env.PRESET_REGION}\n}": {"email-smtp.eu-central-1.amazonaws.com", 587, required},
		"smtp {\n preset mailgun eu\n tls starttls\n}":      {"smtp.eu.mailgun.org", 587, required},
		"smtp {\n preset mailjet\n tls implicit\n}":         {"in-v3.mailjet.com", 465, implicit},
		"smtp in-v3.mailjet.com:2525 {\n preset mailjet\n}": {"in-v3.mailjet.com", 2525, required},
		"smtp smtp.sendgrid.net:465 {\n preset sendgrid\n}": {"smtp.sendgrid.net", 465, implicit},
		"smtp smtp-mail.outlook.com {\n preset outlook\n}":  {"smtp-mail.outlook.com", 587, required},
	} {
		cfg, err := mustLoad(t, segment).(*SMTP).config()
		if got := (dial{cfg.Host, cfg.Port, cfg.TLS}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", segment, got, err, want)
		}
	}
	for config, want := range map[string]Login{
		`{"preset": "sendgrid", "auth": {"password": "k"}}`:                                    {Mechanism: "plain", User: "apikey", Password: "k"},
		`{"preset": "sendgrid", "auth": {"user": "me", "password": "k"}}`:                      {Mechanism: "plain", User: "me", Password: "k"},
		`{"preset": "outlook", "auth": {"user": "me", "password": "k"}}`:                       {Mechanism: "login", User: "me", Password: "k"},
		`{"preset": "outlook", "auth": {"mechanism": "plain", "user": "me", "password": "k"}}`: {Mechanism: "plain", User: "me", Password: "k"},
	} {
		module, err := caddyContext(t).LoadModuleByID("mail.transports.smtp", json.RawMessage(config))
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		got := module.(*SMTP).Auth
		if got.Mechanism != want.Mechanism || got.User != want.User || got.Password != want.Password {
			t.Errorf("%s: %s as %s", config, got.Mechanism, got.User)
		}
	}
}

// TestLearnID reads the new Message-Id from the reply to the content of each
// transaction, of accepted recipients only.
func TestLearnID(t *testing.T) {
	t.Parallel()
	const id = "0100017da2b2e5b3-950ca51b-f7d6-4b3f-8f72-7fbc979e76d1-000000"
	tests := []struct {
		name, preset, reply string
		want                []string // of a recipient that is taken, and of one that is not
	}{
		{"no preset", "", "250 Ok " + id, []string{"", ""}},
		{"first region", "preset amazon_ses", "250 Ok " + id, []string{"<" + id + "@email.amazonses.com>", ""}},
		{"other region", "preset amazon_ses eu-west-1", "250 Ok " + id, []string{"<" + id + "@eu-west-1.amazonses.com>", ""}},
		{"enhanced code", "preset outlook", "250 2.0.0 OK <new@x.prod.outlook.com> [Hostname=x.prod.outlook.com]", []string{"<new@x.prod.outlook.com>", ""}},
		{"several lines", "preset outlook", "250-2.0.0 OK\r\n250 2.0.0 <new@x.prod.outlook.com>", []string{"<new@x.prod.outlook.com>", ""}},
		{"our own again", "preset brevo", "250 2.0.0 OK: queued as <1@gate.example>", []string{"", ""}},
		{"refused", "preset amazon_ses", "554 Ok " + id, []string{"", ""}},
		{"deferred", "preset amazon_ses", "454 Ok " + id, []string{"", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			relay := &mailflowtest.Relay{Script: func(ev mailflowtest.RelayEvent) mailflowtest.RelayAct {
				switch {
				case ev.Stage == mailflowtest.RelayFinal:
					return mailflowtest.RelayRaw(tt.reply + "\r\n")
				case ev.Stage == mailflowtest.RelayRcpt && strings.Contains(ev.Line, "no@b.example"):
					return mailflowtest.RelaySay("550 Ok " + id)
				}
				return nil
			}}
			tr := mustLoad(t, "smtp "+relay.Start(t)+" {\n "+tt.preset+"\n}")
			results, err := tr.Deliver(t.Context(), attempt("b@b.example", "no@b.example"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range results {
				got = append(got, r.MessageID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Message-Ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestKeepID asks a provider that can to leave our Message-Id, and changes
// nothing else of the message, nor of the attempt.
func TestKeepID(t *testing.T) {
	t.Parallel()
	plain := string(attempt().Content.(content))
	for option, want := range map[string]string{
		"":                  plain,
		"preset postmark":   "X-PM-KeepID: true\r\n" + plain,
		"preset mailgun":    plain,
		"preset amazon_ses": plain,
	} {
		relay := &mailflowtest.Relay{}
		a := attempt("b@b.example")
		before := a.Content
		if _, err := mustLoad(t, "smtp "+relay.Start(t)+" {\n "+option+"\n}").Deliver(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		m := relay.Messages()[0]
		if string(m.Content) != want {
			t.Errorf("%s: sent %q", option, m.Content)
		}
		if !strings.Contains(m.Mail, "SIZE="+strconv.Itoa(len(want))) {
			t.Errorf("%s: MAIL %s for %d bytes", option, m.Mail, len(want))
		}
		if a.Content != before {
			t.Errorf("%s: the attempt has changed", option)
		}
	}
}

// TestFieldBeforeAgain: the content may be opened more than once.
func TestFieldBeforeAgain(t *testing.T) {
	t.Parallel()
	p, err := preset.Find("postmark", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := keepID(&p, attempt("b@b.example"))
	for range 2 {
		body, err := a.Content.Open(t.Context(), mailflow.EncodingAsIs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || int64(len(got)) != a.Content.Size() || !strings.HasPrefix(string(got), "X-PM-KeepID: true\r\nSubject:") {
			t.Errorf("%q, %v", got, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}
