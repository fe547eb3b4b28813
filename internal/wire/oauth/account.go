// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Grant is what an account's tokens rest on.
type Grant string

// The grants.
const (
	// GrantUser rests on the consent of the account's owner.
	GrantUser Grant = "user"
	// GrantClient rests on the client alone (RFC 6749 section 4.4), which an
	// administrator has allowed into the mailbox.
	GrantClient Grant = "client_credentials"
)

// Account is a user at a provider, and the client that speaks for it. It is
// made anew for each use, since secrets may change.
type Account struct {
	Provider Provider
	// Client is the client's id. Secret is empty for a public client.
	Client, Secret string
	// User is who logs in at the mail server.
	User string
	// Scopes are what is asked for.
	Scopes []string
	// Grant is what the tokens rest on; empty for [GrantUser].
	Grant Grant
}

// Key returns the name under which the account's refresh token is kept: "oauth",
// provider, client and user, with slashes between. Neither the name of a server
// nor the scopes are part of it.
func (a *Account) Key() string {
	parts := []string{"oauth"}
	for _, part := range []string{a.Provider.Name, a.Client, strings.ToLower(a.User)} {
		parts = append(parts, url.PathEscape(part))
	}
	return strings.Join(parts, "/")
}

// memory returns the name under which the account's access token is held. Other
// than the refresh token it is one for what was asked for.
func (a *Account) memory() string {
	return strings.Join([]string{
		a.Key(), string(a.Grant), a.Provider.TokenURL, a.Provider.Issuer, strings.Join(slices.Sorted(slices.Values(a.Scopes)), " "),
	}, "\x00")
}

// errIncomplete says that an account lacks something.
var errIncomplete = errors.New("the account needs a client and a user")

// check reports what a lacks.
func (a *Account) check() error {
	if a.Client == "" || a.User == "" {
		return errIncomplete
	}
	return nil
}

// config returns a as its requests need it, with the endpoints of p.
func (a *Account) config(p Provider) *oauth2.Config {
	style := p.style
	if a.Secret == "" || style == oauth2.AuthStyleAutoDetect {
		style = oauth2.AuthStyleInParams
		if a.Secret != "" {
			style = oauth2.AuthStyleInHeader // RFC 6749 section 2.3.1: every server takes it
		}
	}
	return &oauth2.Config{
		ClientID: a.Client, ClientSecret: a.Secret, Scopes: a.Scopes,
		Endpoint: oauth2.Endpoint{TokenURL: p.TokenURL, DeviceAuthURL: p.DeviceURL, AuthURL: p.AuthURL, AuthStyle: style},
	}
}

// clientConfig returns a as [GrantClient] needs it.
func (a *Account) clientConfig(p Provider) *clientcredentials.Config {
	c := a.config(p)
	return &clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes,
		TokenURL: c.Endpoint.TokenURL, AuthStyle: c.Endpoint.AuthStyle,
	}
}
