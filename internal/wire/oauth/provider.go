// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

// Provider is who knows the users, and gives tokens for them.
type Provider struct {
	// Name is the provider's name in the key of what is kept.
	Name string
	// Issuer is where the endpoints are found (RFC 8414, OpenID Connect
	// Discovery), if TokenURL is empty.
	Issuer string
	// TokenURL is the token endpoint. DeviceURL is that of RFC 8628 and AuthURL
	// the page for browsers; each is empty if there is none for our scopes.
	TokenURL, DeviceURL, AuthURL string
	// PublicDevice is set where the device flow is for clients without a
	// secret only.
	PublicDevice bool

	style oauth2.AuthStyle
	extra []oauth2.AuthCodeOption // of the page for browsers
}

// Google returns Google's accounts. Its device flow does not allow the scope of
// mail (https://developers.google.com/identity/protocols/oauth2/limited-input-device#allowedscopes),
// so that it is left out: the client to register is of the type "Desktop app".
// Without prompt=consent a second login brings no refresh token.
func Google() Provider {
	return Provider{ //nolint:gosec // G101: the endpoint is no secret
		Name:     "google",
		TokenURL: "https://oauth2.googleapis.com/token",
		AuthURL:  "https://accounts.google.com/o/oauth2/v2/auth",
		style:    oauth2.AuthStyleInParams,
		extra:    []oauth2.AuthCodeOption{oauth2.AccessTypeOffline, oauth2.SetAuthURLParam("prompt", "consent")},
	}
}

// Microsoft returns the accounts of Microsoft 365 and outlook.com. The tenant is
// a directory's id or domain name, or one of common, organizations and
// consumers; empty for common. The device flow is for clients that allow public
// flows, which have no secret
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code).
func Microsoft(tenant string) Provider {
	if tenant == "" {
		tenant = "common"
	}
	base := "https://login.microsoftonline.com/" + url.PathEscape(tenant) + "/oauth2/v2.0/"
	return Provider{
		Name:         "microsoft",
		TokenURL:     base + "token",
		DeviceURL:    base + "devicecode",
		AuthURL:      base + "authorize",
		PublicDevice: true,
		style:        oauth2.AuthStyleInParams,
	}
}

// At returns the provider at an issuer's URL, which is also its name. Its
// endpoints are found there when they are needed. A caller that sets TokenURL
// itself sets the others as well: then nothing is looked for.
func At(issuer string) Provider { return Provider{Name: issuer, Issuer: issuer} }

// CheckURL reports why s cannot be the URL of an issuer or an endpoint: secrets
// go there, so that it is https, or on this machine.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", s)
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a URL such as https://id.example.com", s)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u):
		return nil
	}
	return fmt.Errorf("%q is not https: secrets would leave in clear", s)
}

// loopback reports whether u leads to this machine.
func loopback(u *url.URL) bool {
	if strings.EqualFold(u.Hostname(), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// checkRedirect reports why the browser may not be sent on to s: the answer
// that it brings is for a program on the user's own machine (RFC 8252 section
// 7.3).
func checkRedirect(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || !loopback(u) || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		return fmt.Errorf("%w: redirect %q is not on the user's own machine; write an address such as http://127.0.0.1:8080/", ErrAsk, plain(s))
	}
	return nil
}
