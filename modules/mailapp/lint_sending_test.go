// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// told returns a finding as the log shows it: its message and its fields but
// the next step.
func told(t *testing.T, f finding) string {
	t.Helper()
	enc := zapcore.NewMapObjectEncoder()
	for _, field := range f.fields {
		field.AddTo(enc)
	}
	if step, ok := enc.Fields["next_step"].(string); !ok || step == "" {
		t.Errorf("%q has no next step", f.message)
	}
	delete(enc.Fields, "next_step")
	text, err := json.Marshal(enc.Fields)
	if err != nil {
		t.Fatal(err)
	}
	return f.message + " " + strings.ReplaceAll(string(text), `"`, "")
}

// TestLintSending says what an operator is told of the servers and domains.
func TestLintSending(t *testing.T) {
	t.Setenv("MAIL_TEST_HOST", "smtp.example.com")
	const (
		equal    = "two outgoing servers of equal priority fit the same senders, the names decide between them "
		mass     = "every outgoing server is for mass mail, transactional mail has none of its own {}"
		port     = "an outgoing server is reached by port 25, which many networks block "
		carried  = "no outgoing server may send the domain's default_from "
		absorbed = "default_from is an address of a from_filter, all other senders that no filter names are encapsulated in it "
		foreign  = "a server has no from_filter and the domain no default_from, foreign senders stay in From and fail DMARC "
		overlap  = "domains overlap, an address of one stands in another "
		unsigned = "mail of a domain leaves unsigned, it has no DKIM key "
		secret   = "a secret stands in the configuration in clear text "
		capture  = `"via": {"transport": "capture"}`
	)
	tests := map[string]struct {
		domains, outgoing string
		want              []string
	}{
		"filters of their own": {``, `"a": {"from_filter": ["a.example, x@b.example"], ` + capture + `}, "b": {"from_filter": ["b.example", "*.a.example"], ` + capture + `}`, nil},
		"the same domain":      {``, `"a": {"from_filter": ["c.example", "A.example"], ` + capture + `}, "b": {"from_filter": ["x@b.example, a.EXAMPLE."], ` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:10,senders:A.example}"}},
		"the same address":     {``, `"a": {"from_filter": ["\"X\" <X@a.example>"], ` + capture + `}, "b": {"from_filter": ["x@a.example"], ` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:10,senders:X@a.example}"}},
		"a sub-domain":         {``, `"a": {"from_filter": ["*.a.example"], ` + capture + `}, "b": {"from_filter": ["x.a.example"], ` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:10,senders:x.a.example}"}},
		"sub-domains":          {``, `"a": {"from_filter": ["*.a.example"], ` + capture + `}, "b": {"from_filter": ["*.x.a.example"], ` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:10,senders:*.x.a.example}"}},
		"no filters":           {``, `"a": {"priority": 5, ` + capture + `}, "b": {"priority": 5, ` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:5,senders:those that no from_filter names}"}},
		"other priorities":     {``, `"a": {"priority": 5, ` + capture + `}, "b": {` + capture + `}`, nil},
		"other purposes":       {``, `"a": {"purpose": "mass", ` + capture + `}, "b": {` + capture + `}`, nil},
		"said and not":         {``, `"a": {"purpose": "transactional", ` + capture + `}, "b": {` + capture + `}`, []string{equal + "{outgoing:[a,b],priority:10,senders:those that no from_filter names}"}},
		"beside the default":   {``, `"a": {"default": true, ` + capture + `}, "b": {` + capture + `}`, nil},
		"only mass":            {``, `"a": {"purpose": "mass", ` + capture + `}`, []string{mass}},

		"port 25":            {``, `"a": {"via": {"transport": "smtp", "address": "{env.MAIL_TEST_HOST}:25"}}`, []string{port + "{host:smtp.example.com,outgoing:a}"}},
		"port 587":           {``, `"a": {"via": {"transport": "smtp", "address": "smtp.example.com"}}`, nil},
		"port 25 near":       {``, `"a": {"via": {"transport": "smtp", "address": "10.0.0.1:25"}}`, nil},
		"port 25 beside":     {``, `"a": {"via": {"transport": "smtp", "address": "postfix:25"}}`, nil},
		"port 25 here":       {``, `"a": {"via": {"transport": "smtp", "address": "[::1]:25"}}`, nil},
		"port without value": {``, `"a": {"via": {"transport": "smtp", "address": "{env.MAIL_TEST_UNSET}:25"}}`, nil},

		"default_from nowhere":     {`"a.example": {}`, `"a": {"from_filter": ["b.example"], ` + capture + `}`, []string{carried + "{default_from:notifications@a.example,domain:a.example}"}},
		"default_from by mass":     {`"a.example": {}`, `"a": {"from_filter": ["b.example"], ` + capture + `}, "b": {"purpose": "mass", ` + capture + `}`, []string{carried + "{default_from:notifications@a.example,domain:a.example}"}},
		"default_from in reserve":  {`"a.example": {}`, `"a": {"from_filter": ["b.example"], ` + capture + `}, "b": {"default": true, ` + capture + `}`, []string{carried + "{default_from:notifications@a.example,domain:a.example}"}},
		"email_from nowhere":       {`"a.example": {"default_from": "off", "email_from": "x@a.example"}`, `"a": {"from_filter": ["b.example"], ` + capture + `}`, []string{carried + "{default_from:x@a.example,domain:a.example}"}},
		"by the default":           {`"a.example": {}`, `"b": {"default": true, "from_filter": ["a.example"], ` + capture + `}`, nil},
		"not by the default":       {`"a.example": {"default_from_filter": ["b.example"]}`, `"b": {"default": true, "from_filter": ["a.example"], ` + capture + `}`, []string{carried + "{default_from:notifications@a.example,domain:a.example}"}},
		"anything by the default":  {`"a.example": {"default_from_filter": ["*"]}`, `"b": {"default": true, "from_filter": ["b.example"], ` + capture + `}`, nil},
		"default_from in a filter": {`"a.example": {"default_from": "info@a.example"}`, `"a": {"from_filter": ["info@A.example"], ` + capture + `}`, []string{absorbed + "{default_from:info@a.example,domain:a.example,outgoing:a}"}},
		"default_from by domain":   {`"a.example": {"default_from": "info@a.example"}`, `"a": {"from_filter": ["a.example"], ` + capture + `}`, nil},

		"no default_from":             {`"a.example": {"default_from": "off"}`, `"a": {"from_filter": ["a.example"], ` + capture + `}, "b": {` + capture + `}`, []string{foreign + "{domain:a.example,outgoing:b}"}},
		"no default_from, all filter": {`"a.example": {"default_from": "off"}`, `"a": {"from_filter": ["a.example"], ` + capture + `}`, nil},
		"no default_from, meant":      {`"a.example": {"default_from": "off", "default_from_filter": ["*"]}`, `"a": {` + capture + `}`, nil},

		"address of another domain": {`"a.example": {"bounce": ["bounce", "old@b.example"]}, "b.example": {"default": true}`, `"a": {` + capture + `}`, []string{overlap + "{address:old@b.example,domain:a.example}"}},
		"address elsewhere":         {`"a.example": {"bounce": ["old@c.example"]}, "b.example": {"default": true}`, `"a": {` + capture + `}`, nil},

		"unsigned":              {`"a.example": {}`, `"a": {"via": {"transport": "mx"}}`, []string{unsigned + "{domain:a.example,outgoing:a}"}},
		"unsigned by address":   {`"a.example": {}, "b.example": {"default": true, "default_from": "x@a.example"}`, `"a": {"from_filter": ["a.example"], "via": {"transport": "mx"}}`, []string{unsigned + "{domain:a.example,outgoing:a}"}},
		"signed by preset":      {`"a.example": {}`, `"a": {"preset": "postmark", "via": {"transport": "smtp", "auth": {"user": "u", "password": "{env.P}"}}}`, nil},
		"unsigned to mailboxes": {`"a.example": {}`, `"a": {"via": {"transport": "lmtp", "address": "unix//run/lmtp"}}`, nil},
		"unsigned in reserve":   {`"a.example": {}`, `"a": {` + capture + `}, "b": {"default": true, "via": {"transport": "mx"}}`, nil},

		"password":        {``, `"a": {"via": {"transport": "smtp", "address": "smtp.example.com", "auth": {"mechanism": "login", "user": "u", "password": "hunter2"}}}`, []string{secret + "{option:password,outgoing:a}"}},
		"password hidden": {``, `"a": {"via": {"transport": "smtp", "address": "smtp.example.com", "auth": {"user": "u", "password": "{file./run/secrets/p}"}}}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := provisioned(t, `{"domains": {`+tt.domains+`}, "outgoing": {`+tt.outgoing+`},
				"listeners": {"in": {"protocol": "smtp", "listen": [":25"]}}}`)
			var got []string
			for _, f := range app.lint() {
				got = append(got, told(t, f))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			for _, line := range got {
				if strings.Contains(line, "hunter2") {
					t.Error("the secret is told")
				}
			}
		})
	}
}

// TestLintKeys: a key that stands in the configuration is told without it.
func TestLintKeys(t *testing.T) {
	t.Parallel()
	app := &App{Domains: map[string]*Domain{
		"a.example": {DKIM: []DKIMKey{
			{Selector: "s1", Key: "/run/secrets/dkim.pem"},
			{Selector: "s2", Key: "{file./run/secrets/dkim.pem}"},
			{Selector: "s3", Key: "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"},
		}},
		"b.example": nil,
	}}
	got := app.lintSecrets()
	if want := "a secret stands in the configuration in clear text {domain:a.example,option:dkim s3}"; len(got) != 1 || told(t, got[0]) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	app = &App{storeInClear: secretsInClear(json.RawMessage(`{"module": "x", "nodes": [{"password": "hunter2"}, {"password": "{env.P}"}, 5]}`))}
	if got := app.lintSecrets(); len(got) != 1 || told(t, got[0]) != "a secret stands in the configuration in clear text {option:store password}" {
		t.Errorf("got %v", got)
	}
}
