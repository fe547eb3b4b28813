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
	)
	tests := map[string]struct {
		mail string
		want []string
	}{
		"nothing": {`{}`, []string{captured, closed}},
		"clean":   {`{` + server + `,` + door + `}`, nil},
		"final last": {`{` + server + `,` + door + `,
			"routes": {"inbound": [{"handle": {"handler": "drop"}}], "outbound": [{"handle": {"handler": "capture"}}]}}`, nil},
		"final first": {`{` + server + `,` + door + `,
			"routes": {"inbound": [{"handle": {"handler": "drop"}}, {"handle": {"handler": "tag", "key": "a", "value": "b"}}]}}`, []string{hidden}},
		"final in both": {`{` + server + `,` + door + `,
			"routes": {
				"inbound": [{"handle": {"handler": "drop"}}, {"handle": {"handler": "unrouted"}}],
				"outbound": [{"handle": {"handler": "choose_server"}}, {"handle": {"handler": "capture"}}]}}`, []string{hidden, hidden}},
		"condition": {`{` + server + `,` + door + `,
			"matchers": {"a": {"from": ["a.example"]}},
			"routes": {"inbound": [{"match": ["a"], "handle": {"handler": "drop"}}, {"handle": {"handler": "unrouted"}}]}}`, nil},
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
