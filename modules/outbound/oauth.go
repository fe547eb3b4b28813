// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"errors"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// UseValues implements [mailflow.ValuesUser].
func (h *NextHop) UseValues(v mailflow.Values) {
	if account := h.OAuth2(); account != nil {
		account.UseValues(v)
	}
}

// OAuth2 implements [credential.OAuth2User].
func (h *NextHop) OAuth2() *credential.OAuth2 {
	if h.Auth == nil {
		return nil
	}
	return h.Auth.OAuth2
}

// hintToken returns the operator's next step for an error of a login by access
// token; empty if it is none.
func hintToken(cfg *smtprelay.Config, err error) string {
	if cfg.Login == nil || cfg.Login.Token == nil {
		return ""
	}
	_, refused := errors.AsType[*smtprelay.TokenError](err)
	switch {
	case errors.Is(err, oauth.ErrConsent):
		return "Run `mailcaddy mail oauth login` with the name of this server, and give consent as " + cfg.Login.User + "."
	case errors.Is(err, oauth.ErrClient):
		return "Compare client, secret, scope and tenant with what is registered at the provider. A secret of Microsoft's ends after two years at most."
	case errors.Is(err, oauth.ErrUnavailable):
		return "Check that this machine reaches the provider by HTTPS. Mail waits until it does."
	case errors.Is(err, smtprelay.ErrMechanism):
		return "The server takes no access tokens there: check the address, or write auth plain or login."
	case refused && smtprelay.AsReply(err).Permanent():
		return "The provider gave a token, and the mail server does not take it. The user must be the mailbox whose owner gave consent, and SMTP must be enabled for it " +
			"(Microsoft 365: Set-CASMailbox -SmtpClientAuthenticationDisabled $false). With client_credentials the client also needs " +
			"the application right SMTP.SendAsApp, New-ServicePrincipal and Add-MailboxPermission."
	}
	return ""
}

// Interface guards
var (
	_ credential.OAuth2User = (*NextHop)(nil)
	_ mailflow.ValuesUser   = (*NextHop)(nil)
)
