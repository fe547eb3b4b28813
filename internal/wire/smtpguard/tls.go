// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"crypto/tls"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// startTLS looks at STARTTLS (RFC 3207). go-smtp never sees it: it begins anew
// on the encrypted connection.
func (c *conn) startTLS(arg string) bool {
	switch {
	case arg != "":
		return c.answerNow(errArguments)
	case c.client.TLS != nil || c.state.open || c.client.Hello == "":
		return c.answerNow(errSequence)
	case c.server.options.TLS() == nil && c.offered:
		return c.answerNow(errTLSLater)
	case c.server.options.TLS() == nil:
		return c.answerNow(errNoTLS)
	case len(c.in.waiting()) > 0:
		// What came in clear must not be taken for what came encrypted.
		c.emit(reply(503, mailflow.EnhancedCode{5, 5, 1}, "Nothing may follow STARTTLS, closing connection"))
		c.closing, c.lingering = true, true
		return false
	}
	c.emit(okay.readyTLS)
	if c.flush() != nil || c.handshake() != nil {
		c.closing = true
		return false
	}
	c.state = dialogue{greeted: true, hush: true}
	c.client.Hello, c.session = "", nil
	c.restart = true
	return false
}

// handshake puts TLS on the socket.
func (c *conn) handshake() error {
	config := c.server.options.TLS()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12} // has no certificate: fails with an alert
	}
	if err := c.socket.SetDeadline(c.server.options.Now().Add(c.timeouts().Handshake)); err != nil {
		return err
	}
	if c.draining.Load() {
		return errDraining
	}
	t := tls.Server(c.socket, config)
	if err := t.HandshakeContext(c.ctx); err != nil {
		c.server.options.Report(Incident{Kind: TLSFailed, IP: c.client.IP, Err: err})
		return err
	}
	state := t.ConnectionState()
	c.net, c.client.TLS = t, &state
	return nil
}
