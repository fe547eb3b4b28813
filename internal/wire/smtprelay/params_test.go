// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestParameters checks what is handed on with MAIL and RCPT, and what is
// refused because the server lacks it.
func TestParameters(t *testing.T) {
	t.Parallel()
	all := []string{"PIPELINING", "SIZE 100", "8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS"}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(o string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(o, n) })
		})
	}
	eight := func(a *mailflow.Attempt) { a.Content = &content{text: "Subject: x\r\n\r\nü\r\n", eightBit: true} }
	raw := func(a *mailflow.Attempt) { a.Content = &content{text: "Subject: ü\r\n\r\nx\r\n", utf8Header: true} }
	utf8 := func(a *mailflow.Attempt) {
		raw(a)
		a.Delivery.Envelope.SMTPUTF8 = true
	}
	dsn := func(a *mailflow.Attempt) {
		env := &a.Delivery.Envelope
		env.Return, env.EnvelopeID = mailflow.ReturnHeaders, "a+b c"
		env.Recipients[0].Notify = []mailflow.Notify{mailflow.NotifySuccess, mailflow.NotifyDelay}
		env.Recipients[0].OriginalType, env.Recipients[0].Original = "rfc822", "o=1@b.example"
	}
	const refusedUTF8 = "553 5.6.7 Internationalized mail not supported by the next server"
	tests := []struct {
		name    string
		offers  []string
		change  func(*mailflow.Attempt)
		mail    string
		rcpt    []string
		want    []string // the error or the results that are not plainly sent
		relayed bool
		enc     mailflow.Encoding
	}{
		{"plain", all, func(*mailflow.Attempt) {}, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, nil, false, 0},
		{"plain, nothing offered", []string{}, func(*mailflow.Attempt) {}, "<a@a.example>", []string{"<b@b.example>"}, nil, false, 0},
		{"null sender", all, func(a *mailflow.Attempt) { a.Delivery.Envelope.From = mailflow.Address{} }, "<> SIZE=47", []string{"<b@b.example>"}, nil, false, 0},
		{"asked for and not needed", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.SMTPUTF8, a.Delivery.Envelope.Body = true, mailflow.Body8BitMIME
		}, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, nil, false, 0},
		{"quoted", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Address = mailflow.MustParseAddress(`"b> c"@b.example`)
		}, "<a@a.example> SIZE=47", []string{`<"b> c"@b.example>`}, nil, false, 0},

		{"8-bit", all, eight, "<a@a.example> SIZE=18 BODY=8BITMIME", []string{"<b@b.example>"}, nil, false, 0},
		{"8-bit, not offered", without("8BITMIME"), eight, "<a@a.example> SIZE=18", []string{"<b@b.example>"}, nil, false, mailflow.Encoding7Bit},

		{"UTF-8 header", all, utf8, "<a@a.example> SIZE=18 BODY=8BITMIME SMTPUTF8", []string{"<b@b.example>"}, nil, false, 0},
		{"UTF-8 header, not asked for", without("SMTPUTF8"), raw, "<a@a.example> SIZE=18 BODY=8BITMIME", []string{"<b@b.example>"}, nil, false, 0},
		{"UTF-8 header, not offered", without("SMTPUTF8"), utf8, "", nil, []string{"error: " + refusedUTF8}, false, 0},
		{"UTF-8 sender", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.From = mailflow.MustParseAddress("ä@a.example")
		}, "<ä@a.example> SIZE=47 SMTPUTF8", []string{"<b@b.example>"}, nil, false, 0},
		{"UTF-8 sender, not offered", without("SMTPUTF8"), func(a *mailflow.Attempt) {
			a.Delivery.Envelope.From = mailflow.MustParseAddress("ä@a.example")
		}, "", nil, []string{"error: " + refusedUTF8}, false, 0},
		{"UTF-8 recipient", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Address = mailflow.MustParseAddress("ü@ü.example")
		}, "<a@a.example> SIZE=47 SMTPUTF8", []string{"<ü@xn--tda.example>"}, nil, false, 0},
		{"one UTF-8 recipient, not offered", without("SMTPUTF8"), func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients = append(a.Delivery.Envelope.Recipients, mailflow.Recipient{Address: mailflow.MustParseAddress("ü@b.example")})
		}, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, []string{"ü@b.example failed " + refusedUTF8}, false, 0},

		{"DSN", all, dsn, "<a@a.example> SIZE=47 RET=HDRS ENVID=a+2Bb+20c", []string{"<b@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+3D1@b.example"}, nil, false, 0},
		{"DSN, not offered", without("DSN"), dsn, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, nil, true, 0},
		{"never", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Notify = []mailflow.Notify{mailflow.NotifyNever}
		}, "<a@a.example> SIZE=47", []string{"<b@b.example> NOTIFY=NEVER"}, nil, false, 0},
		{"failure only, not offered", without("DSN"), func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Notify = []mailflow.Notify{mailflow.NotifyFailure}
		}, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, nil, false, 0},
		{"UTF-8 original", all, func(a *mailflow.Attempt) {
			r := &a.Delivery.Envelope.Recipients[0]
			r.OriginalType, r.Original = "utf-8", "ü+x@b.example"
		}, "<a@a.example> SIZE=47", []string{`<b@b.example> ORCPT=utf-8;\x{FC}\x{2B}x@b.example`}, nil, false, 0},
		{"foreign values", all, func(a *mailflow.Attempt) {
			env := &a.Delivery.Envelope
			env.Return, env.EnvelopeID = "X\r\nRSET", strings.Repeat("x", maxEnvelopeID+1)
			env.Recipients[0].Notify = []mailflow.Notify{"X\r\nRSET"}
			env.Recipients[0].OriginalType, env.Recipients[0].Original = "x;\r\nRSET", "x"
		}, "<a@a.example> SIZE=47", []string{"<b@b.example>"}, nil, false, 0},

		{
			"too big", all, func(a *mailflow.Attempt) { a.Content = &content{text: strings.Repeat("x", 101)} }, "", nil,
			[]string{"error: 552 5.3.4 Message too big: 101 bytes, the server takes 100"},
			false, 0,
		},
		{
			"REQUIRETLS in clear", all, func(a *mailflow.Attempt) { a.Delivery.Envelope.RequireTLS = true }, "", nil,
			[]string{"error: 550 5.7.30 REQUIRETLS support required"},
			false, 0,
		},
		{"sender with a line end", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.From = mailflow.Address{Local: "a\r\nRSET", Domain: "a.example"}
		}, "", nil, []string{"error: 553 5.1.7 Sender address cannot be written in SMTP"}, false, 0},
		{"recipient with the end of a path", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Address = mailflow.Address{Local: "a", Domain: "b.example> X=<"}
		}, "", nil, []string{"a@b.example> X=< failed 553 5.1.3 Recipient address cannot be written in SMTP"}, false, 0},
		{"null recipient", all, func(a *mailflow.Attempt) {
			a.Delivery.Envelope.Recipients[0].Address = mailflow.Address{}
		}, "", nil, []string{" failed 553 5.1.3 Recipient address cannot be written in SMTP"}, false, 0},
		{
			"bare LF", all, func(a *mailflow.Attempt) { a.Content = &content{text: "a\n.\r\nMAIL FROM:<x@x.example>\r\n"} }, "", nil,
			[]string{"error: 554 5.6.0 Message has a bare CR or LF: content has a bare CR or LF"},
			false, 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			relay := &mailflowtest.Relay{Offers: tt.offers}
			c := start(t, relay, nil)
			a := attempt("b@b.example")
			tt.change(a)
			results, err := c.Deliver(t.Context(), a)
			odd := slices.DeleteFunc(outcomes(results, err), func(s string) bool { return strings.HasSuffix(s, " sent 250 2.0.0 taken") })
			if len(odd) > 0 || len(tt.want) > 0 {
				if diff := cmp.Diff(tt.want, odd); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
			}
			if tt.mail == "" {
				if len(relay.Messages()) > 0 {
					t.Errorf("%d messages were sent", len(relay.Messages()))
				}
				return
			}
			m := relay.Messages()[0]
			if m.Mail != tt.mail {
				t.Errorf("MAIL %s, want %s", m.Mail, tt.mail)
			}
			if diff := cmp.Diff(tt.rcpt, m.Rcpt); diff != "" {
				t.Errorf("RCPT (-want +got):\n%s", diff)
			}
			if results[0].Relayed != tt.relayed {
				t.Errorf("relayed %v, want %v", results[0].Relayed, tt.relayed)
			}
			if enc := a.Content.(*content).opened[0]; enc != tt.enc {
				t.Errorf("encoding %v, want %v", enc, tt.enc)
			}
		})
	}
}

// TestRequireTLS hands REQUIRETLS on where TLS is verified and the server
// offers it.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	unverified := authority.client.Clone()
	unverified.InsecureSkipVerify = true
	for _, tt := range []struct {
		name, want string
		verified   bool
		offers     []string
	}{
		{"verified and offered", "sent", true, []string{"REQUIRETLS"}},
		{"not offered", "all failed", true, []string{}},
		{"not verified", "all failed", false, []string{"REQUIRETLS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			relay := &mailflowtest.Relay{TLS: authority.server, Offers: tt.offers}
			c := start(t, relay, func(cfg *Config) {
				cfg.TLS, cfg.TLSConfig = TLSRequired, authority.client
				if !tt.verified {
					cfg.TLSConfig = unverified
				}
			})
			a := attempt("b@b.example")
			a.Delivery.Envelope.RequireTLS = true
			if got := outcomeOf(c.Deliver(t.Context(), a)); got != tt.want {
				t.Errorf("outcome %s, want %s", got, tt.want)
			}
			for _, m := range relay.Messages() {
				if m.Mail != "<a@a.example> REQUIRETLS" {
					t.Errorf("MAIL %s", m.Mail)
				}
			}
		})
	}
}

// TestContentError gives the message up where its content cannot be read.
func TestContentError(t *testing.T) {
	t.Parallel()
	relay := new(mailflowtest.Relay)
	c := start(t, relay, nil)
	a := attempt("b@b.example")
	cause := errors.New("disk on fire")
	a.Content = &content{text: text, err: cause}
	_, err := c.Deliver(t.Context(), a)
	if got := outcomeOf(nil, err); got != "temporary" || !errors.Is(err, cause) {
		t.Errorf("outcome %s: %v", got, err)
	}
	if c.Usable() || len(relay.Messages()) > 0 {
		t.Error("half a message was sent")
	}
}

// TestHELO speaks with a server that knows no EHLO.
func TestHELO(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		if strings.HasPrefix(e.Line, "EHLO") {
			return mailflowtest.RelaySay("502 what?")
		}
		return nil
	}}
	c := start(t, relay, nil)
	if got := outcomeOf(c.Deliver(t.Context(), attempt("b@b.example"))); got != "sent" {
		t.Errorf("outcome %s", got)
	}
	if diff := cmp.Diff([]string{"EHLO gate.example", "HELO gate.example", "MAIL FROM:<a@a.example>"}, relay.Commands()[:3]); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}
