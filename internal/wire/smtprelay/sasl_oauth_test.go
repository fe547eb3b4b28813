// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// wallet gives one token after the other, and notes what it was asked.
type wallet struct {
	tokens []string
	err    error
	asked  []string
}

func (w *wallet) token(_ context.Context, rejected string) (string, error) {
	w.asked = append(w.asked, rejected)
	if w.err != nil {
		return "", w.err
	}
	return w.tokens[min(len(w.asked), len(w.tokens))-1], nil
}

// TestTokenLogin logs in by access tokens, as servers want it and refuse it.
func TestTokenLogin(t *testing.T) {
	t.Parallel()
	good := func(user, token string) bool { return user == "an,na=@a.example" && token == "good" }
	const refused = "logging in: server answered 535 5.7.8 authentication failed"
	only := func(mechanism string) []string { return []string{"AUTH " + mechanism} }
	say := func(lines ...string) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
		return mailflowtest.RelayAt(mailflowtest.RelayAuth, mailflowtest.RelaySay(lines...))
	}
	tests := []struct {
		name   string
		relay  *mailflowtest.Relay
		wallet wallet
		remote bool
		asked  []string // what the wallet was asked
		want   string
	}{
		{"XOAUTH2", &mailflowtest.Relay{Bearer: good, Offers: only("XOAUTH2")}, wallet{tokens: []string{"good"}}, false, []string{""}, ""},
		{"OAUTHBEARER", &mailflowtest.Relay{Bearer: good, Offers: only("OAUTHBEARER")}, wallet{tokens: []string{"good"}}, false, []string{""}, ""},
		{"revoked early, XOAUTH2", &mailflowtest.Relay{Bearer: good, Offers: only("XOAUTH2")}, wallet{tokens: []string{"old", "good"}}, false, []string{"", "old"}, ""},
		{"revoked early, OAUTHBEARER", &mailflowtest.Relay{Bearer: good, Offers: only("OAUTHBEARER")}, wallet{tokens: []string{"old", "good"}}, false, []string{"", "old"}, ""},
		{"no other token", &mailflowtest.Relay{Bearer: good}, wallet{tokens: []string{"old"}}, false, []string{"", "old"}, refused},
		{"no other token, OAUTHBEARER", &mailflowtest.Relay{Bearer: good, Offers: only("OAUTHBEARER")}, wallet{tokens: []string{"old"}}, false, []string{"", "old"}, refused},
		{"refused twice", &mailflowtest.Relay{Bearer: good}, wallet{tokens: []string{"old", "new", "good"}}, false, []string{"", "old"}, refused},
		{"no token", &mailflowtest.Relay{Bearer: good}, wallet{err: errors.New("no consent")}, false, []string{""}, "logging in: no consent"},
		{"not offered", &mailflowtest.Relay{Users: map[string]string{"anna": "x"}}, wallet{tokens: []string{"good"}}, false, nil, `logging in: server does not offer AUTH by this mechanism: ["XOAUTH2" "OAUTHBEARER"], it offers ["PLAIN" "LOGIN"]`},
		{"in clear", &mailflowtest.Relay{Bearer: good}, wallet{tokens: []string{"good"}}, true, nil, "logging in: refusing to send a password in clear"},
		{"temporary", &mailflowtest.Relay{Bearer: good, Script: say("454 4.7.0 later")}, wallet{tokens: []string{"good"}}, false, []string{""}, "logging in: server answered 454 4.7.0 later"},
		{"closes", &mailflowtest.Relay{Bearer: good, Script: mailflowtest.RelayAt(mailflowtest.RelayAuth, mailflowtest.RelaySayClose("421 4.3.0 bye"))}, wallet{tokens: []string{"good"}}, false, []string{""}, "logging in: server answered 421 4.3.0 bye"},
		{"malformed token", &mailflowtest.Relay{Bearer: good}, wallet{tokens: []string{"go\x01od"}}, false, []string{""}, "logging in: the user or the access token has a blank or a control character in it"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, tt.relay.Start(t))
			cfg.Login = &Login{User: "an,na=@a.example", Token: tt.wallet.token}
			if tt.remote {
				cfg.Dial = dialAs("192.0.2.1:25")
			}
			c, err := Dial(t.Context(), cfg)
			if c != nil {
				c.Quit()
			}
			if got := errorText(err); got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if err != nil && !errors.Is(err, mailflow.ErrUnreachable) {
				t.Errorf("%v is not temporary for every mail", err)
			}
			if refusal, ok := errors.AsType[*TokenError](err); tt.want == refused && (!ok || refusal.Status != "invalid_token" || refusal.Scope != "mail") {
				t.Errorf("the challenge was read as %+v", refusal)
			}
			if !slices.Equal(tt.wallet.asked, tt.asked) {
				t.Errorf("asked for tokens %q, want %q", tt.wallet.asked, tt.asked)
			}
		})
	}
}

// TestTokenResponses checks the responses byte for byte.
func TestTokenResponses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		cfg                   Config
		mechanism, user, want string
	}{
		// The example of Google's documentation of XOAUTH2.
		{Config{Host: "smtp.gmail.com", Port: 587}, "XOAUTH2", "someuser@example.com", "user=someuser@example.com\x01auth=Bearer ya29.v\x01\x01"},
		// RFC 7628 section 4.1, with another token.
		{Config{Host: "server.example.com", Port: 143}, "OAUTHBEARER", "user@example.com", "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer ya29.v\x01\x01"},
		{Config{Path: "/run/s"}, "OAUTHBEARER", "a=b,c", "n,a=a=3Db=2Cc,\x01auth=Bearer ya29.v\x01\x01"},
	}
	for _, tt := range tests {
		if got := (&Conn{cfg: &tt.cfg}).tokenResponse(tt.mechanism, tt.user, "ya29.v"); got != tt.want {
			t.Errorf("%s for %s: %q, want %q", tt.mechanism, tt.user, got, tt.want)
		}
	}
}

// TestTokenLater logs in at a server that takes no response with the command,
// and gives up on one that never ends.
func TestTokenLater(t *testing.T) {
	t.Parallel()
	first := make(chan struct{}, 1)
	relay := &mailflowtest.Relay{
		Offers: []string{"AUTH XOAUTH2"}, Bearer: func(string, string) bool { return true },
		Script: mailflowtest.RelayAt(mailflowtest.RelayAuth, func(s *mailflowtest.RelaySession) {
			first <- struct{}{}
			mailflowtest.RelaySay("334 ")(s)
		}),
	}
	cfg := config(t, relay.Start(t))
	cfg.Login = &Login{User: "anna", Token: (&wallet{tokens: []string{"good"}}).token}
	_, err := Dial(t.Context(), cfg)
	<-first
	response := base64.StdEncoding.EncodeToString([]byte("user=anna\x01auth=Bearer good\x01\x01"))
	if !slices.Contains(relay.Commands(), response) {
		t.Errorf("%q: the response was not sent alone (%v)", relay.Commands(), err)
	}
}

// FuzzChallenge holds what a server says of a failure to its bounds.
func FuzzChallenge(f *testing.F) {
	f.Add("eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==")
	f.Add("eyJzdGF0dXMiOiI0MDAifQ")
	f.Add("e30=")
	f.Add("!")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseChallenge(text)
		for _, s := range []string{got.Status, got.Scope} {
			if len(s) > maxChallengeWord || strings.ContainsAny(s, "\r\n\x00\x1b") {
				t.Errorf("%q is kept of %q", s, text)
			}
		}
	})
}

// TestChallenge reads what Google says of a token that it does not take.
func TestChallenge(t *testing.T) {
	t.Parallel()
	got := parseChallenge("eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==")
	if want := "server refused the access token, status 400, it wants the scope https://mail.google.com/"; got.Error() != want {
		t.Errorf("%q, want %q", got, want)
	}
}
