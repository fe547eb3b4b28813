// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestUserIsIntroduced: the engine learns what is configured for who logged in.
func TestUserIsIntroduced(t *testing.T) {
	t.Setenv("INBOUND_TEST_SENDER", "b.example")
	hash := testHash(t)
	door := newDoor(t, "smtp :587 {\nsubmit 192.0.2.0/24\ndomain a.example\n"+
		"user plain "+hash+"\n"+
		"user news "+hash+" {\ndomain b.example\nfrom_filter c.example \"d.example, x@e.example\"\nfrom_filter {env.INBOUND_TEST_SENDER}\npurpose mass\n}\n"+
		"user all "+hash+" {\nfrom_filter *\npurpose transactional\n}\n}")
	for user, want := range map[string]mailflow.Peer{
		"":      {Domain: "a.example"},
		"plain": {Domain: "a.example"},
		"news":  {Domain: "b.example", FromFilter: []string{"c.example", "d.example, x@e.example", "b.example"}, Purpose: "mass"},
		"all":   {Domain: "a.example", FromFilter: []string{"*"}, Purpose: "transactional"},
	} {
		s := &session{client: &smtpguard.Client{IP: netip.MustParseAddr("192.0.2.1")}, door: door, user: user}
		got, err := s.peer(door, new(mailflow.Envelope))
		if err != nil {
			t.Fatal(err)
		}
		if got.Domain != want.Domain || got.Purpose != want.Purpose || !slices.Equal(got.FromFilter, want.FromFilter) {
			t.Errorf("user %q: %+v, want %+v", user, got, want)
		}
	}
}

// TestUsersRefused says what is no user.
func TestUsersRefused(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	for options, want := range map[string]string{
		"from_fliter a.example":               `unrecognized user option "from_fliter"; did you mean "from_filter"?`,
		"from_filter":                         "wrong argument count",
		"from_filter * b.example":             `"*" allows every sender; leave the others out`,
		"from_filter @b.example":              `write "b.example" for all addresses of the domain`,
		"from_filter {env.INBOUND_TEST_NONE}": "reading from_filter: ",
		"purpose mas":                         `"mas" is none of ["transactional" "mass"]; did you mean "mass"?`,
		"purpose mass\npurpose mass":          `duplicate user option "purpose"`,
	} {
		_, err := load(t, "smtp :587 {\nsubmit\nuser app "+hash+" {\n"+options+"\n}\n}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want … %s", options, err, want)
		}
	}
	u := &User{Hash: hash, Purpose: "mas"}
	if err := u.provision("app"); err == nil || !strings.Contains(err.Error(), `purpose "mas" is none of`) {
		t.Errorf("in JSON: %v", err)
	}
}

// TestUsersOfManyDomains: with several domains a user says for which it sends,
// also where one of them is the default.
func TestUsersOfManyDomains(t *testing.T) {
	t.Parallel()
	hash := testHash(t)
	services := &mailflow.Services{Domains: mailflow.Domains{{Name: "a.example", Default: true}, {Name: "b.example"}}}
	for door, want := range map[string]string{
		"user app " + hash: `let user "app" name its domain`,
		"user app " + hash + " {\nfrom_filter c.example\n}":       `let user "app" name its domain`,
		"user app " + hash + " {\ndomain b.example\n}":            "",
		"user app " + hash + " {\nfrom_filter *\n}":               "",
		"domain a.example\nuser app " + hash:                      "",
		"user a " + hash + " {\nfrom_filter *\n}\nuser b " + hash: `let user "b" name its domain`,
	} {
		err := newDoor(t, "smtp :587 {\nsubmit\n"+door+"\n}").UseServices(services)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", strings.ReplaceAll(door, hash, "HASH"), err, want)
		}
	}
}

// TestReceives says which doors the world's mail comes in by.
func TestReceives(t *testing.T) {
	t.Parallel()
	for door, want := range map[string]bool{
		"smtp :25":               true,
		"smtp :25 {\nreceive\n}": true,
		"smtp :25 {\nreceive\nsubmit 10.0.0.0/8\n}":     true,
		"smtp 127.0.0.1:2525 {\nreceive\n}":             true,
		"lmtp unix//run/m.sock":                         true,
		"lmtp unix//run/m.sock {\nsubmit 10.0.0.0/8\n}": false,
		"smtp 127.0.0.1:2525":                           false,
		"smtp unix//run/m.sock":                         false,
		"smtp :587 {\nsubmit 10.0.0.0/8\n}":             false,
	} {
		if got := newDoor(t, door).Receives(); got != want {
			t.Errorf("%s: %t", door, got)
		}
	}
}
