// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/bcrypt"

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

	// The domain of ours that the user's mail belongs to when nothing else
	// says. Default: that of the door
	Domain string `json:"domain,omitempty"`
}

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
