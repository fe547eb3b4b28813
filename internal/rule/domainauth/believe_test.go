// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	ours     = "MX.mycompany.com"
	received = "Received: from x by mx.provider.example; Mon, 2 Mar 2026 10:00:00 +0000"
	passed   = "Authentication-Results: mx.provider.example; dmarc=pass header.from=a.example"
	failed   = "Authentication-Results: mx.provider.example; dmarc=fail header.from=bank.example"
	forged   = "Authentication-Results: mx.provider.example; dmarc=pass header.from=bank.example; dkim=pass header.d=bank.example"
	signed   = "Authentication-Results: mx.provider.example; dkim=pass header.d=a.example"
	filtered = "Authentication-Results: filter.example; spf=pass smtp.mailfrom=a.example"
	hosted   = "Authentication-Results: mx7.hosts.example; dmarc=pass header.from=a.example"
)

func TestExamine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		fields  []string
		trusted string
		want    string // results, then forged, below, others
	}{
		{"nobody is trusted", []string{passed}, "", "; 0 0 [mx.provider.example]"},
		{"another is trusted", []string{passed}, "other.example", "; 0 0 [mx.provider.example]"},
		{"on top", []string{passed, received}, "mx.provider.example", "dmarc=pass:a.example; 0 0 []"},
		{"case and dot", []string{passed, received}, "MX.Provider.example.", "dmarc=pass:a.example; 0 0 []"},
		{"below the provider's own hops", []string{received, "X-Received: x", received, passed}, "mx.provider.example", "dmarc=pass:a.example; 0 0 []"},
		{"no hop at all", []string{passed}, "mx.provider.example", "dmarc=pass:a.example; 0 0 []"},
		{"several on top", []string{signed, passed, received}, "mx.provider.example", "dkim=pass:a.example dmarc=pass:a.example; 0 0 []"},

		// The sender brings one of the provider's.
		{"forged below a true one", []string{received, failed, forged}, "mx.provider.example", "dmarc=fail:bank.example; 0 1 []"},
		{"forged below a true one on top", []string{failed, received, forged, received, forged}, "mx.provider.example", "dmarc=fail:bank.example; 0 2 []"},
		{"forged with another method", []string{received, signed, forged}, "mx.provider.example", "dkim=pass:a.example; 0 1 []"},
		{"forged without a hop", []string{failed, forged}, "mx.provider.example", "dmarc=fail:bank.example; 0 1 []"},
		{"two verdicts on top", []string{signed, passed, failed, received}, "mx.provider.example", "dkim=pass:a.example; 0 0 []"},

		{"several trusted", []string{received, filtered, passed, filtered}, "mx.provider.example filter.example", "spf=pass:a.example dmarc=pass:a.example; 0 1 []"},
		{"all hosts of a domain", []string{received, hosted, "Authentication-Results: mx8.hosts.example; dkim=pass header.d=bank.example"}, "*.hosts.example", "dmarc=pass:a.example; 0 1 []"},
		{"not the domain itself", []string{received, "Authentication-Results: hosts.example; spf=pass"}, "*.hosts.example", "; 0 0 [hosts.example]"},
		{"not what ends alike", []string{received, "Authentication-Results: mx.evilhosts.example; spf=pass"}, "*.hosts.example", "; 0 0 [mx.evilhosts.example]"},
		{"others once", []string{filtered, received, filtered, "Authentication-Results: spf=pass", "Authentication-Results: x (; spf=pass"}, "mx.provider.example", "; 0 0 [filter.example ]"},
		{"another version", []string{"Authentication-Results: mx.provider.example 2; dmarc=pass", received, passed}, "mx.provider.example", "dmarc=pass:a.example; 0 0 [mx.provider.example]"},

		// Our own ID.
		{"ours", []string{"Authentication-Results: mx.mycompany.com; dmarc=pass header.from=bank.example", received}, "mx.provider.example", "; 1 0 []"},
		{"ours though trusted", []string{"Authentication-Results: mx.MyCompany.com 1; dmarc=pass", received}, "mx.mycompany.com", "; 1 0 []"},
		{"ours by a pattern", []string{"Authentication-Results: mx.mycompany.com; dmarc=pass", received}, "*.mycompany.com", "; 1 0 []"},
		{"ours in disguise", []string{
			`authentication-results: "MX.mycompany.COM" (x); spf=pass`, "Authentication-Results: (x (y)) mx.mycompany.com.; spf=pass",
			"Authentication-Results:\r\n mx.mycompany.com\r\n\t;spf=pass", "Authentication-Results: mx.mycompany.com 7; spf=pass",
			"Authentication-Results: mx.mycompany.com/1; spf=pass", "Authentication-Results: mx.mycompany.com 1 x; spf=pass",
			"Authentication-Results: (;) mx.mycompany.com (; spf=pass", "Authentication-Results: mx.mycompany.com\x00; spf=pass",
			"Authentication-Results: (" + strings.Repeat("x", MaxResultsBytes) + ") mx.mycompany.com; spf=pass", "Authentication-Results : mx.mycompany.com; none",
		}, "", "; 10 0 []"},
		{"not ours", []string{
			"Authentication-Results: spf=pass smtp.helo=mx.mycompany.com", "Authentication-Results: smx.mycompany.com; spf=pass",
			"ARC-Authentication-Results: i=1; mx.mycompany.com; spf=pass", "X-Authentication-Results: mx.mycompany.com; spf=pass",
		}, "", "; 0 0 [ smx.mycompany.com]"},
	} {
		h := mailflow.ParseHeader([]byte(strings.Join(c.fields, "\r\n") + "\r\nFrom: x@bank.example\r\n\r\n"))
		e := Examine(h, ours, strings.Fields(c.trusted))
		if got := fmt.Sprintf("%s; %d %d %v", short(e.Results()), len(e.Forged), e.Below, e.Others); got != c.want {
			t.Errorf("%s:\ngives %s\nwant  %s", c.name, got, c.want)
		}
	}
}

// TestExamineWithoutAName takes nothing for a forgery where we have no name.
func TestExamineWithoutAName(t *testing.T) {
	t.Parallel()
	h := mailflow.ParseHeader([]byte("Authentication-Results: spf=pass\r\nAuthentication-Results: (\r\n\r\n"))
	if e := Examine(h, "", nil); len(e.Forged) > 0 {
		t.Errorf("%d forged", len(e.Forged))
	}
}

// TestExamineIsBounded reads headers that are as long as they may be, in a time
// that grows with their length only.
func TestExamineIsBounded(t *testing.T) {
	t.Parallel()
	var ids strings.Builder
	for i := 0; ids.Len() < mailflow.MaxHeaderBytes; i++ {
		fmt.Fprintf(&ids, "Authentication-Results: %d.example; spf=pass\r\n", i)
	}
	for _, raw := range []string{
		ids.String(),
		strings.Repeat("Authentication-Results: mx.mycompany.com;\r\n", mailflow.MaxHeaderBytes/43),
		"Authentication-Results: " + strings.Repeat("(", mailflow.MaxHeaderBytes),
		strings.Repeat("Authentication-Results: mx.provider.example; dkim=pass\r\n", mailflow.MaxHeaderBytes/56),
	} {
		began := time.Now()
		e := Examine(mailflow.ParseHeader([]byte(raw)), ours, []string{"mx.provider.example"})
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%.60q takes %s", raw, took)
		}
		if len(e.Others) > MaxOthers || len(e.Results()) > MaxResults {
			t.Errorf("%d others, %d results", len(e.Others), len(e.Results()))
		}
	}
}
