// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// OAuth2 is an account whose user is proven by access tokens (RFC 6749).
type OAuth2 struct {
	// Who gives the tokens: `google`, `microsoft`, or the URL of an issuer,
	// where its endpoints are found. Required.
	Provider string `json:"provider"`

	// The id of the client that is registered with the provider: with Google
	// one of the type "Desktop app". Required.
	Client string `json:"client"`

	// The client's secret; better a placeholder than the word itself.
	// Default: none, for a public client.
	Secret Secret `json:"secret,omitempty"`

	// What the tokens are for.
	// Default: with google https://mail.google.com/; with microsoft
	// offline_access and the protocol's own, such as
	// https://outlook.office.com/SMTP.Send, or with client_credentials
	// https://outlook.office365.com/.default; else none.
	Scope []string `json:"scope,omitempty"`

	// The directory of Microsoft 365, by its id or domain name. Required with
	// client_credentials. Default: `common`.
	Tenant string `json:"tenant,omitempty"`

	// What the tokens rest on: the consent of the `user`, or
	// `client_credentials` alone, which an administrator has let into the
	// mailbox. Default: `user`.
	Grant oauth.Grant `json:"grant,omitempty"`

	// The endpoints of an issuer that does not publish them. With the first of
	// them nothing is looked for at the issuer's URL.
	// Default: what the issuer says of itself.
	TokenEndpoint         string `json:"token_endpoint,omitempty"`
	DeviceEndpoint        string `json:"device_endpoint,omitempty"`
	AuthorizationEndpoint string `json:"authorization_endpoint,omitempty"`

	user    string
	service Service
	keeper  *oauth.Keeper
	values  mailflow.Values
}

// Service is what the tokens are used for.
type Service string

// The services.
const (
	SMTP Service = "SMTP"
	IMAP Service = "IMAP"
	POP3 Service = "POP3"
)

// OAuth2User is a module that may log in by OAuth2.
type OAuth2User interface {
	// OAuth2 returns the account; nil if the module logs in otherwise.
	OAuth2() *OAuth2
}

// The providers that have a name.
const (
	google    = "google"
	microsoft = "microsoft"
)

// grants are all of them.
var grants = []oauth.Grant{oauth.GrantUser, oauth.GrantClient}

// sharedTenants are Microsoft's names for more than one directory.
var sharedTenants = []string{"common", "organizations", "consumers"}

// SetUp prepares o until ctx ends: user is who logs in, and may hold
// placeholders; now is the clock.
func (o *OAuth2) SetUp(ctx context.Context, service Service, user string, now func() time.Time) (err error) {
	o.user, o.service = user, service
	o.keeper, err = keeperOf(ctx, now)
	return err
}

// UseValues takes the values of the store, which keep the refresh token.
func (o *OAuth2) UseValues(v mailflow.Values) { o.values = v }

// Validate checks o, with the user that it is to prove, as far as it can be
// known before placeholders are replaced.
func (o *OAuth2) Validate(user string) error {
	switch {
	case o.Provider == "":
		return errors.New("oauth2 needs a provider: google, microsoft or the URL of an issuer")
	case o.Client == "" || user == "":
		return errors.New("oauth2 needs a client and a user: write client ID and user ADDRESS in its block")
	case o.Grant != "" && !slices.Contains(grants, o.Grant):
		return fmt.Errorf("grant %q is none of %q", o.Grant, grants)
	case o.Grant == oauth.GrantClient && o.Secret == "":
		return errors.New("grant client_credentials needs the client's secret")
	case o.Tenant != "" && o.Provider != microsoft:
		return fmt.Errorf("tenant is for microsoft, not for %s", o.Provider)
	}
	switch o.Provider {
	case google:
		if o.Grant == oauth.GrantClient {
			return errors.New("google has no grant client_credentials for mail; leave it out and log in once")
		}
		if o.Secret == "" {
			return errors.New("google gives every client a secret; add it")
		}
	case microsoft:
		if o.Grant == oauth.GrantClient && (o.Tenant == "" || slices.Contains(sharedTenants, o.Tenant)) {
			return errors.New("grant client_credentials needs the tenant: the id or domain name of your directory")
		}
	default:
		return o.validateURLs()
	}
	if o.TokenEndpoint != "" || o.DeviceEndpoint != "" || o.AuthorizationEndpoint != "" {
		return fmt.Errorf("the endpoints of %s are known; leave them out", o.Provider)
	}
	return nil
}

// validateURLs checks a provider that is a URL.
func (o *OAuth2) validateURLs() error {
	if !strings.ContainsAny(o.Provider, ":{") {
		return fmt.Errorf("oauth2 provider %q is none of %q and no URL", o.Provider, []string{google, microsoft})
	}
	if o.TokenEndpoint == "" && (o.DeviceEndpoint != "" || o.AuthorizationEndpoint != "") {
		return errors.New("device_endpoint and authorization_endpoint need a token_endpoint; without any the issuer is asked for all of them")
	}
	for name, value := range map[string]string{
		"oauth2 provider": o.Provider, "token_endpoint": o.TokenEndpoint,
		"device_endpoint": o.DeviceEndpoint, "authorization_endpoint": o.AuthorizationEndpoint,
	} {
		if value == "" || strings.Contains(value, "{") {
			continue
		}
		if err := oauth.CheckURL(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Account returns the account, with the placeholders of now.
func (o *OAuth2) Account() (oauth.Account, error) {
	r := resolver{}
	a := oauth.Account{
		Provider: o.provider(&r), Grant: o.Grant,
		Client: r.get("OAuth2 client", o.Client), Secret: r.get("OAuth2 secret", string(o.Secret)), User: r.get("user", o.user),
	}
	for _, scope := range o.Scope {
		a.Scopes = append(a.Scopes, r.get("OAuth2 scope", scope))
	}
	if len(a.Scopes) == 0 {
		a.Scopes = o.scopes()
	}
	return a, r.err
}

// resolver replaces placeholders until one has no value.
type resolver struct{ err error }

func (r *resolver) get(what, text string) string {
	if r.err != nil {
		return ""
	}
	text, r.err = Resolve(what, text)
	return text
}

// url returns a URL with the placeholders of now, if secrets may go there.
func (r *resolver) url(what, text string) string {
	text = r.get(what, text)
	if r.err == nil && text != "" {
		r.err = oauth.CheckURL(text)
	}
	return text
}

func (o *OAuth2) provider(r *resolver) oauth.Provider {
	switch o.Provider {
	case google:
		return oauth.Google()
	case microsoft:
		return oauth.Microsoft(r.get("tenant", o.Tenant))
	}
	p := oauth.At(r.url("OAuth2 provider", o.Provider))
	p.TokenURL = r.url("token endpoint", o.TokenEndpoint)
	p.DeviceURL = r.url("device endpoint", o.DeviceEndpoint)
	p.AuthURL = r.url("authorization endpoint", o.AuthorizationEndpoint)
	return p
}

// scopes returns what is asked for where the configuration does not say it, as
// Google's page "OAuth 2.0 Mechanism" of Gmail and Microsoft's "Authenticate an
// IMAP, POP or SMTP connection using OAuth" of Exchange name it.
func (o *OAuth2) scopes() []string {
	switch {
	case o.Provider == google:
		return []string{"https://mail.google.com/"}
	case o.Provider == microsoft && o.Grant == oauth.GrantClient:
		return []string{"https://outlook.office365.com/.default"}
	case o.Provider == microsoft:
		right := map[Service]string{SMTP: "SMTP.Send", IMAP: "IMAP.AccessAsUser.All", POP3: "POP.AccessAsUser.All"}
		return []string{"offline_access", "https://outlook.office.com/" + right[o.service]}
	}
	return nil
}

// errNotReady says that a module did not get what it needs.
var errNotReady = errors.New("the login has no store yet, in which its tokens are kept")

// Token returns an access token; another one than rejected, which the mail
// server has refused. Errors are those of [oauth.Keeper.Token].
func (o *OAuth2) Token(ctx context.Context, rejected string) (string, error) {
	a, err := o.ready()
	if err != nil {
		return "", err
	}
	return o.keeper.Token(ctx, o.values, a, rejected)
}

// Begin starts a login, as [oauth.Keeper.Begin] says.
func (o *OAuth2) Begin(ctx context.Context, ask oauth.Ask) (oauth.Login, error) {
	a, err := o.ready()
	if err != nil {
		return oauth.Login{}, err
	}
	return o.keeper.Begin(ctx, o.values, a, ask)
}

// Finish ends a login, as [oauth.Keeper.Finish] says.
func (o *OAuth2) Finish(ctx context.Context, id, answer string) (done bool, err error) {
	a, err := o.ready()
	if err != nil {
		return false, err
	}
	return o.keeper.Finish(ctx, a, id, answer)
}

// ready returns the account, if tokens can be kept.
func (o *OAuth2) ready() (oauth.Account, error) {
	if o.keeper == nil || o.values == nil {
		return oauth.Account{}, errNotReady
	}
	return o.Account()
}

// ReadBlock reads an auth line from "oauth2" on, which d stands on, and its
// block. Syntax:
//
//	oauth2 google|microsoft|<issuer URL> {
//		client                 <id>
//		secret                 <secret>
//		user                   <name>
//		scope                  <scopes...>
//		tenant                 <directory>
//		grant                  user|client_credentials
//		token_endpoint         <URL>
//		device_endpoint        <URL>
//		authorization_endpoint <URL>
//	}
func (o *OAuth2) ReadBlock(d *caddyfile.Dispenser, user *string) error {
	at := d.Token()
	if !d.NextArg() {
		return d.ArgErr()
	}
	o.Provider = d.Val()
	err := caddyblock.Block{Kind: "oauth2", Options: caddyblock.Options{
		"client":                 caddyblock.String(&o.Client),
		"secret":                 caddyblock.String((*string)(&o.Secret)),
		"user":                   caddyblock.String(user),
		"scope":                  caddyblock.Strings(&o.Scope),
		"tenant":                 caddyblock.String(&o.Tenant),
		"grant":                  caddyblock.Enum(&o.Grant, grants...),
		"token_endpoint":         caddyblock.String(&o.TokenEndpoint),
		"device_endpoint":        caddyblock.String(&o.DeviceEndpoint),
		"authorization_endpoint": caddyblock.String(&o.AuthorizationEndpoint),
	}}.ReadRest(d)
	if err != nil {
		return err
	}
	if err := o.Validate(*user); err != nil {
		return fmt.Errorf("option auth: %w, at %s:%d", err, at.File, at.Line)
	}
	return nil
}
