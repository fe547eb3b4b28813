// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// encrypting is a gateway with the internal certificate authority: its global
// options, its hostname, and its doors.
const encrypting = `{
	skip_install_trust
	%s
	mail {
		hostname %s
		store memory
		domain mycompany.com
		%s
	}
}
`

// ownCA has Caddy issue certificates itself.
const ownCA = "local_certs"

// trusting returns the TLS of a client that trusts the gateway's authority and
// wants a certificate for that name.
func (g *gateway) trusting(name string) *tls.Config {
	g.t.Helper()
	root, err := os.ReadFile(filepath.Join(g.dir, "data", "caddy", "pki", "authorities", "local", "root.crt"))
	if err != nil {
		g.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		g.t.Fatal("the authority has no certificate")
	}
	return &tls.Config{RootCAs: pool, ServerName: name}
}

// unnamed is trusting without SNI, which many mail servers do not send.
func (g *gateway) unnamed(name string) *tls.Config {
	return g.asking("", name)
}

// asking is trusting with that SNI instead of the name.
func (g *gateway) asking(sni, name string) *tls.Config {
	c := g.trusting(name)
	c.ServerName, c.InsecureSkipVerify = sni, true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		chain := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			chain.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: c.RootCAs, Intermediates: chain, DNSName: name})
		return err
	}
	return c
}

// offersTLS reports whether the session was offered STARTTLS.
func (c *client) offersTLS() bool { return slices.Contains(c.offers, "STARTTLS") }

// awaitTLS waits until a door offers STARTTLS.
func awaitTLS(t *testing.T, door string) {
	t.Helper()
	await(t, "STARTTLS is offered", func() bool {
		c, err := dial(door)
		if err != nil {
			return false
		}
		defer c.quit()
		return c.offersTLS()
	})
}

// startTLS encrypts the session, and says EHLO again.
func (c *client) startTLS(config *tls.Config) error {
	a, err := c.command("STARTTLS")
	if err != nil {
		return err
	}
	if a.code != 220 {
		return fmt.Errorf("answer to STARTTLS %v", a)
	}
	if err := c.handshake(config); err != nil {
		return err
	}
	if a, err = c.command("EHLO client.example"); err != nil {
		return err
	}
	c.offers = strings.Split(a.text, "\n")
	return nil
}

// handshake puts TLS on the connection.
func (c *client) handshake(config *tls.Config) error {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn := tls.Client(c.nc, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.nc, c.r = conn, bufio.NewReader(conn)
	return nil
}

// dialTLS connects to a door with implicit TLS and says EHLO.
func dialTLS(address string, config *tls.Config) (*client, error) {
	nc, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReader(nc)}
	return c, c.greet()
}

// TestTLS sends mail by STARTTLS and by implicit TLS, as peers do that are
// unlike a browser: without SNI, with another name, with protocols of their own.
func TestTLS(t *testing.T) {
	t.Parallel()
	start, implicit := freeAddress(t), freeAddress(t)
	doors := "smtp " + start + " {\n tls starttls\n}\nsmtp " + implicit + " {\n tls implicit\n}"
	g := startGateway(t, fmt.Sprintf(encrypting, ownCA, "mx.mycompany.com", doors))
	awaitTLS(t, start)
	mailALPN := g.trusting("mx.mycompany.com")
	mailALPN.NextProtos = []string{"smtp"}
	webALPN := g.trusting("mx.mycompany.com")
	webALPN.NextProtos = []string{"h2", "http/1.1"}
	for name, config := range map[string]*tls.Config{
		"by its name": g.trusting("mx.mycompany.com"),
		"without SNI": g.unnamed("mx.mycompany.com"),
		"other SNI":   g.asking("mycompany.com", "mx.mycompany.com"),
		"ALPN smtp":   mailALPN,
		"ALPN of web": webALPN,
	} {
		c := mustDial(t, start)
		if err := c.startTLS(config); err != nil {
			t.Errorf("STARTTLS %s: %v", name, err)
			continue
		}
		if p := c.nc.(*tls.Conn).ConnectionState().NegotiatedProtocol; p != "" {
			t.Errorf("STARTTLS %s: protocol %q", name, p)
		}
		if c.offersTLS() {
			t.Errorf("STARTTLS %s: it is offered again", name)
		}
		c.mustSend(t, mailOf("start"))
		c, err := dialTLS(implicit, config)
		if err != nil {
			t.Errorf("implicit TLS %s: %v", name, err)
			continue
		}
		t.Cleanup(c.close)
		c.mustSend(t, mailOf("implicit"))
	}
}

// TestTLSNotYet has an authority that cannot be reached: without a certificate
// nobody is led to a handshake that must fail, and mail comes in. With the next
// configuration it is there.
func TestTLSNotYet(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	starttls := "smtp " + door + " {\n tls starttls\n}"
	g := startGateway(t, fmt.Sprintf(encrypting, "acme_ca https://"+freeAddress(t)+"/directory", "mx.mycompany.com", starttls))
	early := mustDial(t, door)
	if early.offersTLS() {
		t.Errorf("without a certificate there is %q", early.offers)
	}
	early.mustSend(t, mailOf("in-clear"))
	if a, err := early.command("STARTTLS"); err != nil || a.code != 502 {
		t.Errorf("STARTTLS without a certificate: %v, %v", a, err)
	}
	g.load(fmt.Sprintf(encrypting, ownCA, "mx.mycompany.com", starttls))
	awaitTLS(t, door)
	if _, err := early.command("EHLO client.example"); err != nil {
		t.Fatal(err)
	}
	if err := early.startTLS(g.trusting("mx.mycompany.com")); err != nil {
		t.Errorf("the session that was open when the certificate came: %v", err)
	}
	early.mustSend(t, mailOf("encrypted"))
}

// TestTLSHostnameChanges loads another hostname under a session, which then
// encrypts, and takes TLS away under another.
func TestTLSHostnameChanges(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	config := func(hostname, mode string) string {
		return fmt.Sprintf(encrypting, ownCA, hostname, "smtp "+door+" {\n tls "+mode+"\n}")
	}
	g := startGateway(t, config("old.mycompany.com", "starttls"))
	awaitTLS(t, door)
	early, other := mustDial(t, door), mustDial(t, door)
	for _, name := range []string{"between.mycompany.com", "new.mycompany.com"} {
		g.load(config(name, "starttls"))
		awaitTLS(t, door)
	}
	if err := early.startTLS(g.unnamed("new.mycompany.com")); err != nil {
		t.Errorf("after the hostname has changed: %v", err)
	}
	early.mustSend(t, mailOf("encrypted"))
	g.load(config("new.mycompany.com", "off"))
	if a, err := other.command("STARTTLS"); err != nil || a.code != 454 {
		t.Errorf("STARTTLS after it was taken away: %v, %v", a, err)
	}
	other.mustSend(t, mailOf("in-clear"))
}

// TestTLSClientCertificate demands a certificate of clients.
func TestTLSClientCertificate(t *testing.T) {
	t.Parallel()
	authority, certify := newAuthority(t)
	pool := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(pool, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	start, implicit := freeAddress(t), freeAddress(t)
	demand := "{\n client_authentication {\n mode require_and_verify\n trust_pool file {\n pem_file " + pool + "\n }\n }\n }\n}\n"
	g := startGateway(t, fmt.Sprintf(encrypting, ownCA, "mx.mycompany.com",
		"smtp "+start+" {\n tls starttls "+demand+"smtp "+implicit+" {\n tls implicit "+demand))
	awaitTLS(t, start)
	_, stranger := newAuthority(t)
	for name, tt := range map[string]struct {
		certificates []tls.Certificate
		admitted     bool
	}{
		"none":     {nil, false},
		"known":    {[]tls.Certificate{certify("app")}, true},
		"stranger": {[]tls.Certificate{stranger("app")}, false},
	} {
		config := g.trusting("mx.mycompany.com")
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(tt.certificates) == 0 {
				return new(tls.Certificate), nil
			}
			return &tt.certificates[0], nil
		}
		c := mustDial(t, start)
		if err := c.startTLS(config); (err == nil) != tt.admitted {
			t.Errorf("STARTTLS with a certificate that is %s: %v", name, err)
		}
		c, err := dialTLS(implicit, config)
		if (err == nil) != tt.admitted {
			t.Errorf("implicit TLS with a certificate that is %s: %v", name, err)
		}
		if err == nil {
			c.mustSend(t, mailOf(name))
			c.quit()
		}
	}
}

// TestTLSRenewed has certificates that last for seconds: a new one comes
// without a reload, also to sessions that are open.
func TestTLSRenewed(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(encrypting, "cert_issuer internal {\n lifetime 24s\n}\n renew_interval 1s", "mx.mycompany.com",
		"smtp "+door+" {\n tls starttls\n}"))
	awaitTLS(t, door)
	serial := func(c *client) (string, error) {
		if err := c.startTLS(g.trusting("mx.mycompany.com")); err != nil {
			return "", err
		}
		return c.nc.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}
	open := mustDial(t, door)
	first, err := serial(mustDial(t, door))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the certificate is another one", func() bool {
		c := mustDial(t, door)
		defer c.quit()
		next, err := serial(c) // on a machine that stands still one may expire
		return err == nil && next != first
	})
	if next, err := serial(open); err != nil || next == first {
		t.Errorf("the session that was open gets the old certificate, or none: %v", err)
	}
}

// TestPasswordChanges changes the file that holds a user's hash: it is read at
// the next login, without a reload.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	door := freeAddress(t)
	g := newGateway(t, fmt.Sprintf(encrypting, "", "mx.mycompany.com",
		"smtp "+door+" {\n submit\n user app {file.app.bcrypt}\n}"))
	change := func(password string) {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(g.dir, "app.bcrypt"), hash, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login := func(password string) int {
		t.Helper()
		c := mustDial(t, door)
		defer c.quit()
		a, err := c.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00app\x00"+password)))
		if err != nil {
			t.Fatal(err)
		}
		return a.code
	}
	change("old")
	g.start()
	g.awaitReady()
	if code := login("old"); code != 235 {
		t.Errorf("the first password: %d", code)
	}
	change("new")
	if old, code := login("old"), login("new"); old != 535 || code != 235 {
		t.Errorf("after the change the old password gets %d, the new one %d", old, code)
	}
}

// newAuthority returns the certificate of an authority, and what issues client
// certificates in its name.
func newAuthority(t *testing.T) (authority []byte, certify func(name string) tls.Certificate) {
	t.Helper()
	key := newKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), func(name string) tls.Certificate {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		leafKey := newKey(t)
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
