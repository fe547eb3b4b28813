// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"slices"
	"testing"
)

func TestLint(t *testing.T) {
	const (
		server   = `"outgoing": {"a": {"via": {"transport": "capture"}}}`
		door     = `"listeners": {"a": {"protocol": "smtp", "listen": [":25"]}}`
		captured = "no outgoing server is configured, everything that is sent is captured"
		closed   = "no listener is configured, no mail comes in"
		hidden   = "a handler is never reached, the one before it takes everything"
		twice    = "the inbound route has no dedupe, a mail that comes twice is taken twice"
		idle     = "the inbound route has no aliases, those that are configured open no threads"
		verbatim = "the outbound route has no rewrite_from behind choose_server, senders stay as they are"
		freely   = "the outbound route has no limit, the limits of servers and domains do not hold"
		unsigned = "the outbound route has no sign behind choose_server, mail leaves unsigned in spite of a DKIM key"
		signing  = `"domains": {"a.example": {"dkim": [{"selector": "s1", "key": "/k"}]}}`
	)
	tests := map[string]struct {
		mail string
		want []string
	}{
		"nothing": {`{}`, []string{captured, closed}},
		"clean":   {`{` + server + `,` + door + `}`, nil},
		"final last": {`{` + server + `,` + door + `,
			"routes": {"inbound": [{"handle": {"handler": "drop"}}], "outbound": [{"handle": {"handler": "capture"}}]}}`, []string{twice, verbatim, freely}},
		"final first": {`{` + server + `,` + door + `,
			"routes": {"inbound": [{"handle": {"handler": "drop"}}, {"handle": {"handler": "tag", "key": "a", "value": "b"}}]}}`, []string{hidden, twice}},
		"final in both": {`{` + server + `,` + door + `,
			"routes": {
				"inbound": [{"handle": {"handler": "drop"}}, {"handle": {"handler": "unrouted"}}],
				"outbound": [{"handle": {"handler": "capture"}}, {"handle": {"handler": "choose_server"}},
					{"handle": {"handler": "rewrite_from"}}, {"handle": {"handler": "limit"}}]}}`, []string{hidden, hidden, twice}},
		"empty outbound": {`{` + server + `,` + door + `,` + signing + `, "routes": {"outbound": []}}`, []string{verbatim, freely, unsigned}},
		"too early": {`{` + server + `,` + door + `,` + signing + `,
			"routes": {"outbound": [{"handle": {"handler": "rewrite_from"}}, {"handle": {"handler": "limit"}}, {"handle": {"handler": "sign"}}]}}`, []string{verbatim, unsigned}},
		"in a route inside": {`{` + server + `,` + door + `,` + signing + `,
			"routes": {"outbound": [{"handle": {"handler": "choose_server"}}, {"handle": {"handler": "handle", "steps": [
				{"handle": {"handler": "rewrite_from"}}, {"handle": {"handler": "limit"}}, {"handle": {"handler": "sign"}}]}}]}}`, nil},
		"condition": {`{` + server + `,` + door + `,
			"matchers": {"a": {"from": ["a.example"]}},
			"routes": {"inbound": [{"match": ["a"], "handle": {"handler": "drop"}}, {"handle": {"handler": "unrouted"}}]}}`, []string{twice}},
		"empty inbound": {`{` + server + `,` + door + `, "domains": {"a.example": {}}, "aliases": {"a@a.example": {"model": "m"}}, "routes": {"inbound": []}}`, []string{twice, idle}},
		"inbound": {`{` + server + `,` + door + `, "aliases": {"a@a.example": {"model": "m"}}, "domains": {"a.example": {}},
			"routes": {"inbound": [{"handle": {"handler": "dedupe"}}, {"handle": {"handler": "handle", "steps": [{"handle": {"handler": "aliases"}}]}}]}}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range provisioned(t, tt.mail).lint() {
				got = append(got, f.message)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
