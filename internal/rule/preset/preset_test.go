// SPDX-License-Identifier: Apache-2.0

package preset

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestFind(t *testing.T) {
	t.Parallel()
	tests := []struct{ write, want, host, id string }{
		{"postmark", "postmark", "smtp.postmarkapp.com", ""},
		{"brevo", "brevo", "smtp-relay.brevo.com", ""},
		{"Sendinblue", "brevo", "smtp-relay.brevo.com", ""},
		{"amazon_ses", "amazon_ses", "email-smtp.us-east-1.amazonaws.com", "email.amazonses.com"},
		{"amazon_ses us-east-1", "amazon_ses us-east-1", "email-smtp.us-east-1.amazonaws.com", "email.amazonses.com"},
		{"Amazon-SES EU-West-1", "amazon_ses eu-west-1", "email-smtp.eu-west-1.amazonaws.com", "eu-west-1.amazonses.com"},
		{"amazon_ses us-gov-west-1", "amazon_ses us-gov-west-1", "email-smtp.us-gov-west-1.amazonaws.com", "us-gov-west-1.amazonses.com"},
		{"mailgun", "mailgun", "smtp.mailgun.org", ""},
		{"mailgun eu", "mailgun eu", "smtp.eu.mailgun.org", ""},
		{"sendgrid", "sendgrid", "smtp.sendgrid.net", ""},
		{"mailjet", "mailjet", "in-v3.mailjet.com", ""},
		{"gmail", "gmail", "smtp.gmail.com", ""},
		{"outlook", "outlook", "smtp.office365.com", ""},
	}
	for _, tt := range tests {
		words := strings.Fields(tt.write)
		p, err := Find(words[0], words[1:])
		if err != nil {
			t.Errorf("%s: %v", tt.write, err)
			continue
		}
		got := []string{p.String(), p.Host, p.MessageID.Domain}
		if diff := cmp.Diff([]string{tt.want, tt.host, tt.id}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.write, diff)
		}
		if of, ok := OfHost(strings.ToUpper(p.Host) + "."); !ok || of.Host != p.Host || of.MessageID != p.MessageID {
			t.Errorf("OfHost(%s) = %v, %v", p.Host, of, ok)
		}
	}
	// An argument of one caller does not show for the next.
	if p, err := Find("amazon_ses", nil); err != nil || p.Host != "email-smtp.us-east-1.amazonaws.com" {
		t.Errorf("amazon_ses after others: %s, %v", p.Host, err)
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	for write, want := range map[string]string{
		"postmrk":                        `"postmrk"; did you mean "postmark"?`,
		"sendinblu":                      `did you mean "brevo"?`,
		"ses":                            `did you mean "amazon_ses"?`,
		"office365":                      `did you mean "outlook"?`,
		"Google":                         `did you mean "gmail"?`,
		"sparkpost":                      "there are amazon_ses, brevo, gmail, mailgun, mailjet, outlook, postmark, sendgrid",
		strings.Repeat("postmark", 1000): "there are amazon_ses",
		"sendgrid eu":                    "takes no argument",
		"mailgun uk":                     "write eu, or nothing",
		"mailgun eu west":                "takes one argument",
		"amazon_ses ireland":             "write one such as eu-west-1",
		"amazon_ses a.evil.example/eu-1": "is no region",
		"amazon_ses eu-west-1 us-east-1": "takes one argument",
	} {
		words := strings.Fields(write)
		_, err := Find(words[0], words[1:])
		if err == nil || !errors.Is(err, ErrPreset) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", write, err, want)
		}
	}
}

func TestOfHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"email-smtp-fips.us-east-2.amazonaws.com": "amazon_ses us-east-2",
		"smtp-mail.outlook.com":                   "outlook",
		"email-smtp.nowhere.amazonaws.com":        "",
		"smtp.example.com":                        "",
		"":                                        "",
	} {
		p, ok := OfHost(host)
		if ok != (want != "") || p.String() != want {
			t.Errorf("OfHost(%q) = %q, %v; want %q", host, p, ok, want)
		}
	}
}

// TestTable holds each row to being whole, and each fact to its source.
func TestTable(t *testing.T) {
	t.Parallel()
	for _, e := range table {
		p := e.preset
		switch {
		case p.Name != fold(p.Name) || p.Title == "" || p.Host == "" || p.TLS == "":
			t.Errorf("%s: name, title, host or TLS is missing", p.Name)
		case !slices.Contains(p.Ports, p.Port) || !slices.IsSorted(p.Ports) || p.Port == PortRelay:
			t.Errorf("%s: port %d of %v", p.Name, p.Port, p.Ports)
		case (p.TLS == Implicit) != (p.Port == PortSubmissions):
			t.Errorf("%s: %s at port %d", p.Name, p.TLS, p.Port)
		case len(p.Login.Mechanisms) == 0 || p.Login.Words == "" || p.DKIM.Record == "" || p.DKIM.Words == "":
			t.Errorf("%s: login or DKIM is missing", p.Name)
		case p.Envelope != mailflow.EnvelopeBounce && p.Envelope != mailflow.EnvelopeLogin:
			t.Errorf("%s: envelope %q", p.Name, p.Envelope)
		case p.MessageID.Kept == Yes && (p.MessageID.Keep != "" || p.MessageID.In != Nowhere):
			t.Errorf("%s: keeps the Message-Id and yet %+v", p.Name, p.MessageID)
		}
		for fact, known := range map[string]bool{
			"Server": true, "Login": true, "DKIM": true, "Envelope": true, "SPF": true,
			"Limits":     len(p.Limits)+len(p.Quotas) > 0,
			"NullSender": p.NullSender != Unknown,
			"MessageID":  p.MessageID != MessageID{},
		} {
			page := reflect.ValueOf(p.Sources).FieldByName(fact).String()
			if u, err := url.Parse(page); known != (page != "") || err != nil || known && (u.Scheme != "https" || u.Host == "") {
				t.Errorf("%s: known %v: %s from %q", p.Name, known, fact, page)
			}
		}
		for _, l := range append(slices.Clone(p.Limits), quotas(p)...) {
			if back, err := mailflow.ParseLimit(l.String()); err != nil || back != l {
				t.Errorf("%s: limit %s: %v", p.Name, l, err)
			}
		}
	}
	if !slices.IsSorted(Names()) || len(Names()) != len(table) {
		t.Errorf("Names() = %q", Names())
	}
}

func quotas(p Preset) []mailflow.Limit {
	var limits []mailflow.Limit
	for _, q := range p.Quotas {
		limits = append(limits, q.Limit)
	}
	return limits
}

func TestPortAdvice(t *testing.T) {
	t.Parallel()
	advice := PortAdvice(25, false)
	for _, port := range []string{"465", "587", "2525"} {
		if !strings.Contains(advice, port) {
			t.Errorf("%q does not name %s", advice, port)
		}
	}
	for port, local := range map[uint16]bool{25: true, 587: false, 0: false} {
		if got := PortAdvice(port, local); got != "" {
			t.Errorf("port %d, local %v: %q", port, local, got)
		}
	}
}
