// SPDX-License-Identifier: Apache-2.0

package outbound

import "testing"

func TestAccount(t *testing.T) {
	t.Setenv("MAILCADDY_ACCOUNT", "me@example.com")
	for segment, want := range map[string]string{
		"smtp smtp.example.com": "",
		"smtp smtp.example.com {\n auth plain me@example.com secret\n}":                "me@example.com",
		"smtp smtp.example.com {\n auth login {env.MAILCADDY_ACCOUNT} {env.UNSET_}\n}": "me@example.com",
	} {
		got, err := mustLoad(t, segment).(*SMTP).Account()
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", segment, got, err)
		}
	}
	if got, err := mustLoad(t, "smtp a.example {\n auth plain {env.MAILCADDY_UNSET} x\n}").(*SMTP).Account(); err == nil {
		t.Errorf("a user that is not set: %q", got)
	}
}

func TestEndpoint(t *testing.T) {
	t.Setenv("MAILCADDY_HOST", "smtp.example.com:2525")
	type endpoint struct {
		host string
		port uint16
	}
	for segment, want := range map[string]endpoint{
		"smtp SMTP.Example.com":                          {"smtp.example.com", 587},
		"smtp smtp.example.com {\n tls implicit\n}":      {"smtp.example.com", 465},
		"smtp {env.MAILCADDY_HOST}":                      {"smtp.example.com", 2525},
		"smtp a.example:25 {\n auth plain a {env.NO}\n}": {"a.example", 25},
		"smtp unix//run/relay.sock":                      {},
	} {
		host, port, err := mustLoad(t, segment).(*SMTP).Endpoint()
		if got := (endpoint{host, port}); err != nil || got != want {
			t.Errorf("%s: %v, %v", segment, got, err)
		}
	}
	if host, port, err := mustLoad(t, "smtp {env.MAILCADDY_UNSET}:25").(*SMTP).Endpoint(); err == nil {
		t.Errorf("an address that is not set: %s:%d", host, port)
	}
}
