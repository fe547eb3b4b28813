// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
)

// UnmarshalCaddyfile reads a door. Syntax:
//
//	smtp|lmtp ADDRESS [ADDRESS...] {
//		name NAME
//		receive
//		submit [NETWORK...]
//		user NAME HASH {
//			domain DOMAIN
//			from_filter SENDER [SENDER...]
//			purpose transactional|mass
//		}
//		domain DOMAIN
//		tls [auto|starttls|implicit|off] {
//			connection_policy {
//				...
//			}
//			client_authentication {
//				...
//			}
//		}
//		listener_wrappers {
//			WRAPPER {
//				...
//			}
//		}
//		max_size SIZE
//		max_recipients NUMBER
//		max_connections NUMBER
//		max_connections_per_ip NUMBER
//		max_auth_failures NUMBER
//	}
func (s *SMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{
		Args: caddyblock.Strings(&s.Listen),
		Options: caddyblock.Options{
			"name":                   caddyblock.String(&s.Name),
			"receive":                caddyblock.Flag(&s.Receive),
			"submit":                 caddyblock.Func(s.readSubmit).Many(),
			"user":                   caddyblock.Func(s.readUser).Many(),
			"domain":                 caddyblock.String(&s.Domain),
			"tls":                    caddyblock.Func(s.readTLS),
			"listener_wrappers":      caddyblock.Func(s.readWrappers),
			"max_size":               caddyblock.Size(&s.MaxSize),
			"max_recipients":         caddyblock.Int(&s.MaxRecipients, 1, maxMaxRecipients),
			"max_connections":        caddyblock.Int(&s.MaxConnections, 1, maxLimit),
			"max_connections_per_ip": caddyblock.Int(&s.MaxConnectionsPerIP, 1, maxLimit),
			"max_auth_failures":      caddyblock.Int(&s.MaxAuthFailures, 1, maxLimit),
		},
	}.Read(d)
}

// readSubmit reads `submit [NETWORK...]`, which adds up.
func (s *SMTP) readSubmit(d *caddyfile.Dispenser) error {
	if s.Submit == nil {
		s.Submit = new(Submit)
	}
	s.Submit.Networks = append(s.Submit.Networks, d.RemainingArgs()...)
	return nil
}
