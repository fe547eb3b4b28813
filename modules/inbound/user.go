// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/crypto/bcrypt"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds of passwords and their hashes.
const (
	// maxPassword is what bcrypt looks at; a longer one would be cut in silence.
	maxPassword = 72
	// maxCost bounds what one login costs: each step doubles it, and 14 takes a
	// second.
	maxCost = 14
)

// User is somebody who may log in.
type User struct {
	// The bcrypt hash of the password, as `caddy hash-password` makes it, or a
	// placeholder such as {file./run/secrets/app.bcrypt}, which is read at each
	// login. Required.
	Hash string `json:"hash,omitempty"`

	// The domain of ours that the user sends for, and that its mail belongs to
	// when nothing else says. Where there are several domains it is required,
	// unless the door names one or from_filter is "*". Default: that of the
	// door
	Domain string `json:"domain,omitempty"`

	// The senders that the user may use besides those of its domain:
	// addresses, domains, and *.domain for sub-domains; "*" alone for
	// everybody. Default: none of our other domains
	FromFilter []string `json:"from_filter,omitempty"`

	// What the user's mail is when the message does not say: "transactional"
	// or "mass". Default: what the app's purpose says
	Purpose string `json:"purpose,omitempty"`
}

// everybody is the filter entry that allows every sender.
const everybody = "*"

// purposes are what mail may be for.
var purposes = []string{mailflow.PurposeTransactional, mailflow.PurposeMass}

// String hides the hash.
func (u *User) String() string { return "user of " + u.Domain }

// Refusals of a login.
var (
	errBadLogin = &mailflow.Reply{Code: 535, Enhanced: mailflow.EnhancedCode{5, 7, 8}, Text: "Authentication credentials invalid"}
	errNoCheck  = &mailflow.Reply{Code: 454, Enhanced: mailflow.EnhancedCode{4, 7, 0}, Text: "Temporary authentication failure"}
)

// provision checks what is known before a login.
func (u *User) provision(name string) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("the name is empty or has control characters")
	}
	if u == nil || u.Hash == "" {
		return errors.New("there is no hash: make one with `hash-password`")
	}
	if !strings.HasPrefix(u.Hash, "{") {
		if err := checkHash([]byte(u.Hash)); err != nil {
			return err
		}
	}
	if err := u.provisionFilter(); err != nil {
		return fmt.Errorf("reading from_filter: %w", err)
	}
	if u.Purpose != "" && !slices.Contains(purposes, u.Purpose) {
		return fmt.Errorf("purpose %q is none of %q", u.Purpose, purposes)
	}
	if u.Domain == "" {
		return nil
	}
	d, err := mailflow.NormalizeDomain(u.Domain)
	if err != nil {
		return fmt.Errorf("reading domain: %w", err)
	}
	u.Domain = d
	return nil
}

// provisionFilter replaces the placeholders of the filter and checks it.
func (u *User) provisionFilter() error {
	for i, entry := range u.FromFilter {
		text, err := caddy.NewReplacer().ReplaceOrErr(entry, true, true)
		if err != nil {
			return err
		}
		u.FromFilter[i] = text
	}
	return checkSenders(u.FromFilter)
}

// checkSenders refuses a filter that cannot be read.
func checkSenders(entries []string) error {
	if slices.Contains(entries, everybody) {
		if len(entries) > 1 {
			return fmt.Errorf("%q allows every sender; leave the others out", everybody)
		}
		return nil
	}
	_, err := relay.ParseFilter(entries)
	return err
}

// checkUserDomains refuses a user of whom nothing says for which of several
// domains it sends; the door does not.
func (s *SMTP) checkUserDomains() error {
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		if u := s.Users[name]; u.Domain == "" && !slices.Contains(u.FromFilter, everybody) {
			return fmt.Errorf("there are several domains: let user %q name its domain, or write `from_filter *` if it sends for all", name)
		}
	}
	return nil
}

// introduce adds to p what is configured for the user.
func (u *User) introduce(p *mailflow.Peer) {
	p.Domain = cmp.Or(u.Domain, p.Domain)
	p.FromFilter = u.FromFilter
	p.Purpose = u.Purpose
}

// checkHash refuses what is no bcrypt hash, and one that is too dear.
func checkHash(hash []byte) error {
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return errors.New("the hash is no bcrypt hash: make one with `hash-password`")
	}
	if cost > maxCost {
		return fmt.Errorf("the hash has cost %d, more than %d: make one with `hash-password`", cost, maxCost)
	}
	return nil
}

// hash returns the hash with its placeholder resolved.
func (u *User) hash() ([]byte, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(u.Hash, true, true)
	if err != nil {
		return nil, fmt.Errorf("reading the hash: %w", err)
	}
	hash := []byte(strings.TrimSpace(text))
	return hash, checkHash(hash)
}

// checks bounds the logins that are checked at once, so that guessing takes no
// more than half of the machine.
var checks = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// anyUser returns the user whose hash is checked for names that nobody has, so
// that these take as long as the others. A door that offers AUTH has users.
func (s *SMTP) anyUser() *User {
	return s.Users[slices.Min(slices.Collect(maps.Keys(s.Users)))]
}

// authenticate checks a login of the door's users.
func (s *SMTP) authenticate(ctx context.Context, name, password string) error {
	if len(s.Users) == 0 {
		return errBadLogin // they are gone since AUTH was offered
	}
	u, known := s.Users[name]
	if !known {
		u = s.anyUser()
	}
	hash, err := u.hash()
	if err != nil {
		return errNoCheck.Because(fmt.Errorf("user %q: %w", name, err))
	}
	select {
	case checks <- struct{}{}:
		defer func() { <-checks }()
	case <-ctx.Done():
		return errNoCheck.Because(ctx.Err())
	}
	err = bcrypt.CompareHashAndPassword(hash, []byte(password))
	if err != nil || !known || len(password) > maxPassword {
		return errBadLogin
	}
	return nil
}

// readUser reads a user. Syntax:
//
//	user NAME HASH {
//		domain DOMAIN
//		from_filter SENDER [SENDER...]
//		purpose transactional|mass
//	}
func (s *SMTP) readUser(d *caddyfile.Dispenser) error {
	var name string
	u := new(User)
	if !d.Args(&name, &u.Hash) {
		return d.ArgErr()
	}
	if _, ok := s.Users[name]; ok {
		return d.Errf("user %q stands twice", name)
	}
	if strings.Contains(name, "/") {
		return d.Errf("user %q: a name with a slash cannot be reached by the admin API", name)
	}
	if s.Users == nil {
		s.Users = make(map[string]*User)
	}
	s.Users[name] = u
	return caddyblock.Block{
		Kind: "user",
		Options: caddyblock.Options{
			"domain":      caddyblock.String(&u.Domain),
			"from_filter": caddyblock.Strings(&u.FromFilter),
			"purpose":     caddyblock.Enum(&u.Purpose, purposes...),
		},
	}.ReadRest(d)
}
