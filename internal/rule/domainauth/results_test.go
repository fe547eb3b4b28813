// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// short writes results as "method=result:domain".
func short(rs []mailflow.AuthResult) string {
	var all []string
	for _, r := range rs {
		all = append(all, fmt.Sprintf("%s=%s:%s", r.Method, r.Result, r.Domain))
	}
	return strings.Join(all, " ")
}

func TestParseResults(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		// As large providers write them.
		`mx.google.com; dkim=pass header.i=@sender.example header.s=s1 header.b=AbC/d+e=; spf=pass (google.com: domain of anna@sender.example designates 192.0.2.1 as permitted sender) smtp.mailfrom=anna@sender.example; dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=sender.example`: "mx.google.com: dkim=pass:sender.example spf=pass:sender.example dmarc=pass:sender.example",
		`mx.microsoft.com 1; spf=pass smtp.mailfrom=sender.example; dkim=pass header.d=sender.example;dmarc=pass action=none header.from=sender.example;compauth=pass reason=100`:                                                                                                               "mx.microsoft.com: spf=pass:sender.example dkim=pass:sender.example dmarc=pass:sender.example",
		`mx.provider.example; none`:                                                "mx.provider.example: ",
		`mx.provider.example 1; none`:                                              "mx.provider.example: ",
		`MX.Provider.example.; spf=pass smtp.mailfrom=a.example`:                   "mx.provider.example: spf=pass:a.example",
		`mx; dkim=pass header.d=a.example; dkim=fail header.d=b.example`:           "mx: dkim=pass:a.example dkim=fail:b.example",
		`mx; auth=pass (cram-md5) smtp.auth=anna@sender.example`:                   "mx: auth=pass:sender.example",
		`mx; auth=pass smtp.auth=anna`:                                             "mx: auth=pass:",
		`mx; arc=pass (i=1 spf=pass dmarc=pass fromdomain=a.example)`:              "mx: arc=pass:",
		`mx; spf=none smtp.mailfrom= smtp.helo=relay.example`:                      "mx: spf=none:relay.example",
		`mx; spf=pass smtp.mailfrom=<> smtp.helo=relay.example`:                    "mx: spf=pass:relay.example",
		`mx; spf=pass smtp.mailfrom=<anna@a.example> smtp.helo=relay.example`:      "mx: spf=pass:a.example",
		`mx; spf=pass smtp.mailfrom=bounce+1-x=y@a.example`:                        "mx: spf=pass:a.example",
		`mx; dkim=pass header.i=@mail.a.example header.d=a.example`:                "mx: dkim=pass:a.example",
		`mx; dmarc=pass header.from=Caf` + "\u00e9" + `.example`:                   "mx: dmarc=pass:xn--caf-dma.example",
		`mx; dkim/1 = pass header.d = a.example`:                                   "mx: dkim=pass:a.example",
		`mx; dkim / 1 = pass header.d= a.example`:                                  "mx: dkim=pass:a.example",
		`mx; DMARC=Pass Header.From=A.example`:                                     "mx: dmarc=pass:a.example",
		`mx; spf=hardfail smtp.mailfrom=a.example; dkim=policy header.d=a.example`: "mx: spf=fail:a.example dkim=neutral:a.example",
		`"mx.provider.example" (x) 1; spf=pass smtp.mailfrom=a.example`:            "mx.provider.example: spf=pass:a.example",
		`(one (two) \) three) mx; spf=pass`:                                        "mx: spf=pass:",
		`mx; spf=pass reason="it is; good" smtp.mailfrom=a.example`:                "mx: spf=pass:a.example",

		// What cannot be read is left out, and the rest stays.
		`mx; dkim=pass header.d=a.example; ; iprev=pass policy.iprev=192.0.2.1; bogus; =; spf; x=; dmarc=pass header.from=a.example;`: "mx: dkim=pass:a.example dmarc=pass:a.example",
		`mx; dkim/2=pass header.d=a.example; spf=fine; dmarc=bestguesspass header.from=a.example`:                                     "mx: ",
		`mx; arc=pass header.oldest-pass=x; spf=pass smtp.mailfrom=a.example`:                                                         "mx: spf=pass:a.example",
		`mx; dmarc=pass header.from=not_a..domain`:                                                                                    "mx: dmarc=pass:",
		`mx; dkim=pass header.d="a.example"`:                                                                                          "mx: dkim=pass:a.example",

		// What a sender brings into the field of an honest receiver.
		`mx; spf=fail (sender "; dmarc=pass header.from=bank.example") smtp.mailfrom=evil.example`:                        "mx: spf=fail:evil.example",
		`mx; spf=fail reason="x; dmarc=pass header.from=bank.example" smtp.mailfrom=evil.example`:                         "mx: spf=fail:evil.example",
		`mx; spf=pass smtp.mailfrom="; dmarc=pass header.from=bank.example; x"@evil.example`:                              "mx: spf=pass:evil.example",
		`mx; spf=pass smtp.mailfrom="\"; dmarc=pass header.from=bank.example; \""@evil.example`:                           "mx: spf=pass:evil.example",
		`mx; spf=pass smtp.mailfrom="x@bank.example"@evil.example`:                                                        "mx: spf=pass:evil.example",
		`mx; "dmarc=pass" header.from=bank.example`:                                                                       "mx: ",
		`mx; dkim=pass header.d=evil.example header.d=bank.example`:                                                       "mx: ",
		`mx; spf=pass smtp.mailfrom=x SMTP.mailfrom=bank.example @evil.example`:                                           "mx: ",
		"mx; spf=pass smtp.mailfrom=x\u00a0smtp.helo=bank.example@evil.example":                                           "mx: spf=pass:evil.example",
		`mx; spf=fail (\); dmarc=pass header.from=bank.example \( smtp.mailfrom=bank.example) smtp.mailfrom=evil.example`: "mx: spf=fail:evil.example",

		// Nothing at all.
		``:                                 "unread",
		`;`:                                "unread",
		`   ; spf=pass`:                    "unread",
		`spf=pass smtp.mailfrom=a.example`: "unread", // Exchange Online
		`mx/1; spf=pass`:                   "unread",
		`mx 2; spf=pass`:                   "unread",
		`mx 1 1; spf=pass`:                 "unread",
		`mx; spf=pass (`:                   "unread",
		`mx; spf=pass (\)`:                 "unread",
		`mx; spf=pass reason="x`:           "unread",
		`mx; spf=pass reason="x\`:          "unread",
		"mx; spf=pass \x00":                "unread",
		`mx; spf=pass` + strings.Repeat(" ", MaxResultsBytes): "unread",
	} {
		got := "unread"
		if r, ok := ParseResults(value); ok {
			got = r.ID + ": " + short(r.Results)
			if slices.ContainsFunc(r.Results, func(a mailflow.AuthResult) bool { return a.By != r.ID }) {
				t.Errorf("%q is not by %q: %v", value, r.ID, r.Results)
			}
		}
		if got != want {
			t.Errorf("%q\ngives %s\nwant  %s", value, got, want)
		}
	}
}

// TestParseResultsIsBounded holds how much of a hostile field is taken.
func TestParseResultsIsBounded(t *testing.T) {
	t.Parallel()
	many := "mx" + strings.Repeat("; dkim=pass header.d=a.example", MaxResults) + "; dmarc=pass header.from=a.example"
	r, ok := ParseResults(many)
	if !ok || len(r.Results) != MaxResults || r.Results[MaxResults-1].Method != "dkim" {
		t.Errorf("%d results of %d bytes, %v", len(r.Results), len(many), ok)
	}
	for _, hostile := range []string{
		strings.Repeat("(", MaxResultsBytes), strings.Repeat("()", MaxResultsBytes/2), strings.Repeat(`\`, MaxResultsBytes),
		strings.Repeat(`"`, MaxResultsBytes), strings.Repeat(";", MaxResultsBytes), strings.Repeat("=", MaxResultsBytes),
		"mx; " + strings.Repeat("= ", MaxResultsBytes/2-4), "mx; dkim=pass " + strings.Repeat("a=b ", MaxResultsBytes/4-8),
	} {
		if r, _ := ParseResults(hostile); len(r.Results) > 0 {
			t.Errorf("%.20q gives %v", hostile, r.Results)
		}
	}
}

// FuzzParseResults holds that results are well-formed, and that nothing within
// quotes or comments becomes one.
func FuzzParseResults(f *testing.F) {
	f.Add("mx 1; dkim=pass (x) header.d=a.example; spf=fail reason=\"y\" smtp.mailfrom=b@a.example", "z")
	f.Add("mx; spf = pass smtp.mailfrom=", "a\"@b.example; dmarc=pass header.from=bank.example")
	f.Add("mx; dkim/1=pass header.i=@a.example", "); dmarc=pass (")
	f.Fuzz(func(t *testing.T, value, stranger string) {
		r, ok := ParseResults(value)
		if len(r.Results) > MaxResults || !ok && len(r.Results) > 0 {
			t.Fatalf("%d results, %v", len(r.Results), ok)
		}
		for _, a := range r.Results {
			if !slices.Contains(Methods, a.Method) || !slices.Contains(Outcomes, a.Result) || a.By != r.ID {
				t.Errorf("%+v", a)
			}
			if again := domainOf(a.Domain); again != a.Domain {
				t.Errorf("domain %q is not normalised: %q", a.Domain, again)
			}
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(stranger)
		commented := strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`).Replace(stranger)
		for _, honest := range []string{
			`mx; spf=fail reason="` + quoted + `" smtp.mailfrom=evil.example`,
			`mx; spf=fail (` + commented + `) smtp.mailfrom=evil.example`,
			`mx; spf=fail smtp.mailfrom="` + quoted + `"@evil.example`,
		} {
			if r, ok := ParseResults(honest); ok && short(r.Results) != "spf=fail:evil.example" {
				t.Errorf("%q gives %s", honest, short(r.Results))
			}
		}
	})
}

// TestReadsWhatTheLibraryWrites reads what the library formats.
func TestReadsWhatTheLibraryWrites(t *testing.T) {
	t.Parallel()
	text := authres.Format("mx.provider.example", []authres.Result{
		&authres.SPFResult{Value: authres.ResultPass, From: "anna@a.example", Helo: "relay.example"},
		&authres.DKIMResult{Value: authres.ResultFail, Reason: "body hash did not verify", Domain: "b.example", Identifier: "@b.example"},
		&authres.DMARCResult{Value: authres.ResultSoftFail, From: "c.example"},
	})
	r, ok := ParseResults(strings.ReplaceAll(text, "\r\n", ""))
	if want := "spf=pass:a.example dkim=fail:b.example dmarc=softfail:c.example"; !ok || short(r.Results) != want {
		t.Errorf("%q gives %s, %v", text, short(r.Results), ok)
	}
}
