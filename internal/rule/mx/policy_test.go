// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"errors"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestNames(t *testing.T) {
	t.Parallel()
	sts := STS{Patterns: []string{"mx.example.com", "*.mail.example"}}
	tests := map[string]bool{
		"mx.example.com": true, "MX.example.com.": true, "a.mail.example": true,
		"mail.example": false, "a.b.mail.example": false, "amail.example": false, "other.example.com": false, "": false,
	}
	for host, want := range tests {
		if got := sts.Names(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	good := mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	pkix := mailflow.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	enforce := STS{Mode: STSEnforce, Patterns: []string{"mx.example"}}
	foreign := STS{Mode: STSEnforce, Patterns: []string{"mx.other"}}
	testing := STS{Mode: STSTesting, Patterns: []string{"mx.example"}}
	failing := STS{Mode: STSTesting, Patterns: []string{"mx.other"}}
	none := STS{Mode: STSNone, Patterns: []string{"mx.example"}}
	tests := []struct {
		name string
		e    Evidence
		want Level
		note string
		err  error
	}{
		{"nothing known", Evidence{}, LevelOpportunistic, "", nil},
		{"proven host, no TLSA", Evidence{ProvenMX: true}, LevelOpportunistic, "", nil},
		{"DANE", Evidence{ProvenMX: true, TLSA: []mailflow.TLSA{pkix, good}}, LevelDANE, "", nil},
		{"unusable TLSA", Evidence{ProvenMX: true, TLSA: []mailflow.TLSA{pkix}}, LevelEncrypted, "", nil},
		{"MTA-STS", Evidence{STS: enforce}, LevelVerified, "", nil},
		{"MTA-STS, not in it", Evidence{STS: foreign}, 0, "", ErrNotInPolicy},
		{"MTA-STS in testing", Evidence{STS: testing}, LevelOpportunistic, "", nil},
		{"MTA-STS in testing, not in it", Evidence{STS: failing}, LevelOpportunistic, "host mx.example: not named by the domain's MTA-STS policy, which is in testing", nil},
		{"MTA-STS of none", Evidence{STS: none}, LevelOpportunistic, "", nil},
		{"DANE before MTA-STS", Evidence{TLSA: []mailflow.TLSA{good}, STS: foreign}, LevelDANE, "", nil},
		{"MTA-STS before unusable TLSA", Evidence{TLSA: []mailflow.TLSA{pkix}, STS: enforce}, LevelVerified, "", nil},
		{"REQUIRETLS, nothing known", Evidence{RequireTLS: true}, 0, "", ErrUnproven},
		{"REQUIRETLS, MTA-STS of none", Evidence{RequireTLS: true, STS: none}, 0, "", ErrUnproven},
		{"REQUIRETLS, proven host", Evidence{RequireTLS: true, ProvenMX: true}, LevelVerified, "", nil},
		{"REQUIRETLS, unusable TLSA", Evidence{RequireTLS: true, ProvenMX: true, TLSA: []mailflow.TLSA{pkix}}, LevelVerified, "", nil},
		{"REQUIRETLS, MTA-STS", Evidence{RequireTLS: true, STS: enforce}, LevelVerified, "", nil},
		{"REQUIRETLS, MTA-STS in testing", Evidence{RequireTLS: true, STS: testing}, LevelVerified, "", nil},
		{"REQUIRETLS, DANE", Evidence{RequireTLS: true, TLSA: []mailflow.TLSA{good}}, LevelDANE, "", nil},
		{"REQUIRETLS, the domain is the host", Evidence{RequireTLS: true, Domain: "mx.example"}, LevelVerified, "", nil},
	}
	for _, tt := range tests {
		tt.e.Host = "mx.example"
		got, err := Decide(tt.e)
		if got.Level != tt.want || got.Note != tt.note || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q, %q, %v", tt.name, got.Level, got.Note, err)
		}
		if got.Level == LevelDANE && len(got.TLSA) != 1 {
			t.Errorf("%s: %d records", tt.name, len(got.TLSA))
		}
	}
}
