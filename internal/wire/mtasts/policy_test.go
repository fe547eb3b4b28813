// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       Policy
	}{
		{"of the RFC", "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n", Policy{
			Mode: "enforce", MX: []string{"mail.example.com", "*.example.net", "backupmx.example.com"}, MaxAge: 7 * 24 * time.Hour,
		}},
		{"bare lines, other order, more fields", "mode:testing\nx_y: z\nmx:MX.Example.\nmax_age:60\nversion:STSv1", Policy{
			Mode: "testing", MX: []string{"mx.example"}, MaxAge: time.Minute,
		}},
		{"first counts", "version: STSv1\nmode: testing\nmode: enforce\nmx: a.example\nmax_age: 60\nmax_age: 61\n", Policy{
			Mode: "testing", MX: []string{"a.example"}, MaxAge: time.Minute,
		}},
		{"none needs no host", "version: STSv1\nmode: none\nmax_age: 86400\n", Policy{Mode: "none", MaxAge: 24 * time.Hour}},
		{"very long", "version: STSv1\nmode: none\nmax_age: 4294967295\n", Policy{Mode: "none", MaxAge: maxAge}},
	}
	for _, tt := range tests {
		got, err := ParsePolicy(tt.text)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"", "missing"},
		{"<html>", "missing"},
		{"version: STSv1\nmode: enforce\nmx: a.example\n", "missing"},
		{"version: STSv1\nmx: a.example\nmax_age: 1\n", "missing"},
		{"mode: enforce\nmx: a.example\nmax_age: 1\n", "missing"},
		{"version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1\n", `version "STSv2"`},
		{"version: STSv1\nmode: strict\nmx: a.example\nmax_age: 1\n", `mode "strict"`},
		{"version: STSv1\nmode: enforce\nmax_age: 1\n", "it names no host"},
		{"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n", `max_age "-1"`},
		{"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 99999999999\n", "max_age"},
		{"version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", `host "a b"`},
		{"version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1\n", `host "[192.0.2.1]"`},
		{"version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1\n", "host"},
		{"version: STSv1\nmode: enforce\nmax_age: 1\n" + strings.Repeat("mx: a.example\n", maxPatterns+1), "more than 64 hosts"},
	}
	for _, tt := range tests {
		_, err := ParsePolicy(tt.text)
		if err == nil || !errors.Is(err, errPolicy) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	tests := []struct {
		texts []string
		want  string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=spf1 -all", "v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1 ; x=y; id=a1"}, "a1"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, ""},
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv1; id="}, ""},
		{[]string{"v=STSv1; id=a-b"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("1", 33)}, ""},
		{[]string{"v=STSv10; id=1"}, ""},
		{[]string{"id=1; v=STSv1"}, ""},
		{nil, ""},
	}
	for _, tt := range tests {
		if got, ok := ParseRecord(tt.texts); ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%q: got %q, %v", tt.texts, got, ok)
		}
	}
}

// FuzzParsePolicy holds what is read from a stranger to its bounds, and reads
// it the same once it is written.
func FuzzParsePolicy(f *testing.F) {
	f.Add("version: STSv1\r\nmode: enforce\r\nmx: *.example.net\r\nmax_age: 604800\r\n")
	f.Add("version:STSv1\nmode: none\nmax_age:0")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			if p.Mode != "" && !errors.Is(err, errPolicy) {
				t.Errorf("policy %+v beside %v", p, err)
			}
			return
		}
		if len(p.MX) > maxPatterns || p.MaxAge > maxAge || p.MaxAge < 0 {
			t.Errorf("out of bounds: %+v", p)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "version: STSv1\nmode: %s\nmax_age: %d\n", p.Mode, p.MaxAge/time.Second)
		for _, mx := range p.MX {
			fmt.Fprintf(&b, "mx: %s\n", mx)
		}
		again, err := ParsePolicy(b.String())
		if diff := cmp.Diff(p, again); diff != "" || err != nil {
			t.Errorf("read again: %v\n%s", err, diff)
		}
	})
}

// FuzzParseRecord finds only ids that can stand in a record.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Add("v=STSv1;id=1;id=2")
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := ParseRecord([]string{text})
		if !ok {
			return
		}
		if again, ok := ParseRecord([]string{"v=STSv1; id=" + id}); !ok || again != id {
			t.Errorf("%q gives id %q, which gives %q", text, id, again)
		}
	})
}
