// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
)

// read reads what stands behind auth.
func read(text string) (*OAuth2, string, error) {
	o, user := new(OAuth2), ""
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	return o, user, o.ReadBlock(d, &user)
}

func TestReadBlock(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"oauth2 google {\n client {env.C}\n secret {file./run/s}\n user me@a.example\n}":                                                                      `{"provider":"google","client":"{env.C}","secret":"{file./run/s}"}`,
		"oauth2 microsoft {\n client c\n user me@a.example\n tenant a.example\n scope a b\n scope c\n}":                                                       `{"provider":"microsoft","client":"c","scope":["a","b","c"],"tenant":"a.example"}`,
		"oauth2 microsoft {\n client c\n secret s\n user me@a.example\n tenant {env.T}\n grant client_credentials\n}":                                         `{"provider":"microsoft","client":"c","secret":"s","tenant":"{env.T}","grant":"client_credentials"}`,
		"oauth2 https://id.example/realms/x {\n client c\n user me\n}":                                                                                        `{"provider":"https://id.example/realms/x","client":"c"}`,
		"oauth2 {env.ISSUER} {\n client c\n user me\n}":                                                                                                       `{"provider":"{env.ISSUER}","client":"c"}`,
		"oauth2 https://id.example {\n client c\n user me\n token_endpoint https://a/t\n device_endpoint https://a/d\n authorization_endpoint https://a/a\n}": `{"provider":"https://id.example","client":"c","token_endpoint":"https://a/t","device_endpoint":"https://a/d","authorization_endpoint":"https://a/a"}`,
	} {
		o, user, err := read(text)
		if err != nil || !strings.HasPrefix(user, "me") {
			t.Errorf("%s: user %q, %v", text, user, err)
			continue
		}
		if got, err := json.Marshal(o); err != nil || string(got) != want {
			t.Errorf("%s:\n got %s %v\nwant %s", text, got, err, want)
		}
	}
}

func TestReadBlockRefuses(t *testing.T) {
	t.Parallel()
	const rest = "\n client c\n secret s\n user me\n"
	for text, want := range map[string]string{
		"oauth2":                         "wrong argument count",
		"oauth2 google x {" + rest + "}": "wrong argument count",
		"oauth2 google":                  "oauth2 needs a client and a user: write client ID and user ADDRESS in its block, at Testfile:1",
		"oauth2 google {\n client c\n secret s\n}":                                                 "needs a client and a user",
		"oauth2 google {\n client c\n user me\n}":                                                  "google gives every client a secret; add it",
		"oauth2 google {" + rest + " clint x\n}":                                                   `unrecognized oauth2 option "clint"; did you mean "client"?, at Testfile:5`,
		"oauth2 google {" + rest + " client x\n}":                                                  `duplicate oauth2 option "client"`,
		"oauth2 google {" + rest + " grant client\n}":                                              `"client" is none of ["user" "client_credentials"]`,
		"oauth2 google {" + rest + " grant client_credentials\n}":                                  "google has no grant client_credentials",
		"oauth2 google {" + rest + " tenant t\n}":                                                  "tenant is for microsoft, not for google",
		"oauth2 google {" + rest + " token_endpoint https://a/t\n}":                                "the endpoints of google are known; leave them out",
		"oauth2 gogle {" + rest + "}":                                                              `oauth2 provider "gogle" is none of ["google" "microsoft"] and no URL`,
		"oauth2 http://id.example {" + rest + "}":                                                  "oauth2 provider: \"http://id.example\" is not https: secrets would leave in clear",
		"oauth2 https://id.example {" + rest + " token_endpoint http://id.example/t\n}":            "token_endpoint: \"http://id.example/t\" is not https",
		"oauth2 https://id.example {" + rest + " device_endpoint https://id.example/d\n}":          "need a token_endpoint",
		"oauth2 microsoft {" + rest + " grant client_credentials\n}":                               "needs the tenant",
		"oauth2 microsoft {" + rest + " grant client_credentials\n tenant common\n}":               "needs the tenant",
		"oauth2 microsoft {\n client c\n user me\n grant client_credentials\n tenant a.example\n}": "needs the client's secret",
	} {
		if _, _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestAccount replaces the placeholders of now and asks for what each service
// needs.
func TestAccount(t *testing.T) {
	t.Setenv("CREDENTIAL_ID", "id1")
	t.Setenv("CREDENTIAL_URL", "http://id.example")
	ms := "https://login.microsoftonline.com/"
	for _, tt := range []struct {
		o       OAuth2
		service Service
		want    string
	}{
		{OAuth2{Provider: "google", Client: "{env.CREDENTIAL_ID}", Secret: "s"}, SMTP, "https://oauth2.googleapis.com/token id1 s me [https://mail.google.com/]"},
		{OAuth2{Provider: "microsoft", Client: "c"}, SMTP, ms + "common/oauth2/v2.0/token c  me [offline_access https://outlook.office.com/SMTP.Send]"},
		{OAuth2{Provider: "microsoft", Client: "c"}, IMAP, ms + "common/oauth2/v2.0/token c  me [offline_access https://outlook.office.com/IMAP.AccessAsUser.All]"},
		{OAuth2{Provider: "microsoft", Client: "c"}, POP3, ms + "common/oauth2/v2.0/token c  me [offline_access https://outlook.office.com/POP.AccessAsUser.All]"},
		{OAuth2{Provider: "microsoft", Client: "c", Secret: "s", Tenant: "{env.CREDENTIAL_ID}", Grant: oauth.GrantClient}, SMTP, ms + "id1/oauth2/v2.0/token c s me [https://outlook.office365.com/.default]"},
		{OAuth2{Provider: "https://id.example", Client: "c", Scope: []string{"{env.CREDENTIAL_ID}"}}, SMTP, " c  me [id1]"},
		{OAuth2{Provider: "google", Client: "c", Secret: "{env.CREDENTIAL_NO}"}, SMTP, "reading the OAuth2 secret: evaluated placeholder {env.CREDENTIAL_NO} is empty: set the variable or the file that it names"},
		{OAuth2{Provider: "{env.CREDENTIAL_URL}", Client: "c"}, SMTP, `"http://id.example" is not https: secrets would leave in clear`},
	} {
		if err := tt.o.SetUp(t.Context(), tt.service, "me", time.Now); err != nil {
			t.Fatal(err)
		}
		a, err := tt.o.Account()
		got := fmt.Sprint(a.Provider.TokenURL, " ", a.Client, " ", a.Secret, " ", a.User, " ", a.Scopes)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.o, got, tt.want)
		}
	}
}

// TestNotReady is what a login says whose module was given no values.
func TestNotReady(t *testing.T) {
	t.Parallel()
	o := &OAuth2{Provider: "google", Client: "c", Secret: "s"}
	if _, err := o.Token(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no store yet") {
		t.Errorf("error %v", err)
	}
	if err := o.SetUp(t.Context(), SMTP, "me", time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Begin(t.Context(), oauth.Ask{}); err == nil || !strings.Contains(err.Error(), "no store yet") {
		t.Errorf("error %v", err)
	}
}

// TestShared gives all configurations of the process one keeper.
func TestShared(t *testing.T) {
	t.Parallel()
	var a, b OAuth2
	for _, o := range []*OAuth2{&a, &b} {
		if err := o.SetUp(t.Context(), SMTP, "me", time.Now); err != nil {
			t.Fatal(err)
		}
	}
	if a.keeper != b.keeper {
		t.Error("each has a keeper of its own")
	}
}

// TestSecret shows itself nowhere.
func TestSecret(t *testing.T) {
	t.Parallel()
	o := &OAuth2{Secret: "very secret"}
	if text := fmt.Sprintf("%v %+v %#v %s", o, o, o, o.Secret); strings.Contains(text, "very") {
		t.Error(text)
	}
}
