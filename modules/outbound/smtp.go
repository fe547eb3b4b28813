// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(SMTP)) }

// SMTP hands mail to a relay by SMTP (RFC 5321): a provider's submission
// server, a smart host or the mail server of the house.
type SMTP struct {
	// The provider that the server belongs to: `postmark`, `brevo`,
	// `amazon_ses`, `mailgun`, `sendgrid`, `mailjet`, `gmail` or `outlook`. It
	// gives what is not written here: address, port, TLS, and of the login
	// what is alike for all customers. What the provider does to the
	// Message-Id is learnt, or prevented where it lets one, so that replies
	// find their thread.
	// Default: none.
	Preset string `json:"preset,omitempty"`

	// The argument of the preset: the region of `amazon_ses`, or `eu` of
	// `mailgun`.
	// Default: us-east-1; the United States.
	PresetArgs []string `json:"preset_args,omitempty"`

	NextHop

	provider *preset.Preset // nil = none
}

// CaddyModule returns the Caddy module information.
func (*SMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.smtp", New: func() caddy.Module { return new(SMTP) }}
}

// Provision sets up t.
func (t *SMTP) Provision(ctx caddy.Context) error {
	if t.Preset != "" || len(t.PresetArgs) > 0 {
		if err := t.usePreset(); err != nil {
			return err
		}
	}
	return t.setUp(ctx, smtprelay.SMTP)
}

// Deliver implements [mailflow.Transport].
func (t *SMTP) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	if t.provider == nil {
		return t.NextHop.Deliver(ctx, a)
	}
	results, err := t.NextHop.Deliver(ctx, keepID(t.provider, a))
	learnID(t.provider, results)
	return results, err
}

// UnmarshalCaddyfile sets up t from Caddyfile tokens. The address may be left
// out where the preset gives it. Syntax:
//
//	via smtp [<address>] {
//	    preset  <name> [<argument>]
//	    tls     starttls|implicit|off
//	    auth    plain|login <user> <password>
//	    auth    oauth2 google|microsoft|<issuer URL> {
//	        client|secret|user|scope|tenant|grant ...
//	    }
//	    timeout <duration>
//	}
func (t *SMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	options := t.options()
	options["preset"] = caddyblock.Func(t.unmarshalPreset)
	return caddyblock.Block{Args: caddyblock.Func(t.unmarshalAddress), Options: options}.Read(d)
}

// unmarshalAddress reads the address, if there is one.
func (t *SMTP) unmarshalAddress(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		t.Address = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// unmarshalPreset reads the arguments of preset.
func (t *SMTP) unmarshalPreset(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	t.Preset, t.PresetArgs = args[0], args[1:]
	if strings.Contains(strings.Join(t.PresetArgs, ""), "{") {
		args = args[:1] // what a placeholder stands for is not known yet
	}
	if _, err := preset.Find(t.Preset, args[1:]); err != nil {
		return d.WrapErr(fmt.Errorf("option preset: %w", err))
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner         = (*SMTP)(nil)
	_ caddy.Validator           = (*SMTP)(nil)
	_ caddyfile.Unmarshaler     = (*SMTP)(nil)
	_ mailflow.AccountTransport = (*SMTP)(nil)
	_ mailflow.Tester           = (*SMTP)(nil)
	_ credential.OAuth2User     = (*SMTP)(nil)
	_ mailflow.ServicesUser     = (*SMTP)(nil)
	_ mailflow.ValuesUser       = (*SMTP)(nil)
	_ io.Closer                 = (*SMTP)(nil)
)
