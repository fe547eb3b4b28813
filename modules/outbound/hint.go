// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
)

// hint returns the operator's next step for an error of a test.
func hint(cfg *smtprelay.Config, stage smtprelay.Stage, err error) string {
	switch stage {
	case smtprelay.StageResolve:
		return "Check the host name, and that this machine can look it up."
	case smtprelay.StageConnect:
		return hintConnect(cfg, err)
	case smtprelay.StageTLS:
		return hintTLS(err)
	case smtprelay.StageHello:
		return "Check that the address and the port are those of a mail server, and that `hostname` is a name it takes."
	case smtprelay.StageAuth:
		return cmp.Or(hintToken(cfg, err), hintAuth(err))
	case smtprelay.StageMail:
		return "The server refuses the sender: check that its account may send for this address, and `auth` if it needs a login."
	case smtprelay.StageRcpt:
		return "The server refuses the recipient: if it says that relaying is denied, it needs `auth`; else check the address."
	}
	return ""
}

func hintConnect(cfg *smtprelay.Config, err error) string {
	var timeout net.Error
	switch {
	case smtprelay.AsReply(err) != nil:
		return "The server does not want this machine now: what it answered says why."
	case cfg.Path != "":
		return "Check the path of the socket, that the server runs, and that this user may open it."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nothing listens there, or a firewall refuses: check the port. Usual ones are 587, 465 (tls implicit), 2525 and 25, which many networks block."
	case errors.As(err, &timeout) && timeout.Timeout():
		return "Nothing answers: a firewall may block the port. Try 587, 2525, or 465 with `tls implicit`, which a server without a greeting may want."
	}
	return "Check the address and the port, and the way from this machine to there."
}

func hintTLS(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &name):
		names := strings.Join(name.Certificate.DNSNames, ", ")
		return fmt.Sprintf("The certificate is for %s: write the server's address with a name of it.", names)
	case errors.As(err, &authority):
		return "This machine does not trust who signed the certificate: add that authority to the system's trust store."
	case errors.As(err, &invalid):
		return "The server has to renew or correct its certificate; check also this machine's clock."
	case errors.As(err, &noTLS):
		return "The server does not begin with TLS there: write `tls starttls`, or use port 465."
	case errors.Is(err, smtprelay.ErrNoSTARTTLS):
		return "Use a port with TLS (587, or 465 with `tls implicit`). Only where all that passes may be read by others: `tls off`."
	}
	return "The TLS handshake failed: check that the port speaks TLS in the way that `tls` says."
}

func hintAuth(err error) string {
	switch {
	case errors.Is(err, smtprelay.ErrClearPassword):
		return "Write `tls starttls` or `tls implicit`: a password leaves this machine only protected."
	case errors.Is(err, smtprelay.ErrMechanism):
		return "Write the mechanism that the server offers, plain or login. If it offers none, it may want TLS first or take this machine without a login."
	case smtprelay.AsReply(err) != nil && smtprelay.AsReply(err).Permanent():
		return "Check user and password. Many providers want a password of its own for SMTP, an API key, or SMTP enabled for the account."
	}
	return "The server cannot check logins at the moment: try again later."
}
