// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/wire/mtasts"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// A world is the part of the internet that a test has: names, and what listens
// at which address. Where nothing does, connections are refused.
type world struct {
	mailflowtest.Resolver

	at    map[string]string // real addresses by "192.0.2.1:25"
	roots *x509.CertPool
	tried atomic.Int32 // connections, refused ones too
}

// newWorld returns a world with the records of zone and the relays, by their
// addresses.
func newWorld(t *testing.T, zone map[string][]string, relays map[string]*mailflowtest.Relay) *world {
	t.Helper()
	w := &world{at: make(map[string]string)}
	w.Zone = zone
	for ip, relay := range relays {
		w.at[net.JoinHostPort(ip, "25")] = relay.Start(t)
	}
	return w
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.tried.Add(1)
	to, ok := w.at[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// transport returns a transport that lives in w. It draws nothing: equals keep
// the order of their records.
func (w *world) transport(t *testing.T) *MX {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	tr := &MX{roots: w.roots, dialer: w.dial}
	if err := tr.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := tr.UseServices(&mailflow.Services{Hostname: "gate.example", Resolver: &w.Resolver}); err != nil {
		t.Fatal(err)
	}
	tr.random = func(n int) int { return n - 1 }
	tr.policies.Cache = new(mtasts.Cache)
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// policy lets w have an MTA-STS policy for b.example.
func (w *world) policy(t *testing.T, text string) {
	t.Helper()
	config, roots := certificate(t, []string{"mta-sts.b.example"})
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(rw, text)
	}))
	site.Config.ErrorLog = log.New(io.Discard, "", 0)
	site.TLS = config
	site.StartTLS()
	t.Cleanup(site.Close)
	if w.roots == nil {
		w.roots = roots
	} else {
		cert, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		w.roots.AddCert(cert)
	}
	w.Set("_mta-sts.b.example TXT", "v=STSv1; id=1")
	w.Set("mta-sts.b.example IP", "198.51.100.1")
	w.at["198.51.100.1:443"] = site.Listener.Addr().String()
}

// An authority is a root, and a host's certificate by it.
type authority struct {
	server     *tls.Config
	root, leaf *x509.Certificate
	roots      *x509.CertPool
}

// newAuthority makes a root and a certificate for names that ends at end.
func newAuthority(t *testing.T, end time.Time, names ...string) *authority {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	root, rootKey := issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0),
	}, nil, nil)
	leaf, key := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "host"}, DNSNames: names,
		NotBefore: time.Unix(0, 0), NotAfter: end,
	}, root, rootKey)
	a := &authority{root: root, leaf: leaf, roots: x509.NewCertPool()}
	a.roots.AddCert(root)
	a.server = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{
		Certificate: [][]byte{leaf.Raw, root.Raw}, PrivateKey: key,
	}}}
	return a
}

// tlsa311 and tlsa201 are the records that describe a.
func (a *authority) tlsa311() string {
	sum := sha256.Sum256(a.leaf.RawSubjectPublicKeyInfo)
	return "3 1 1 " + hex.EncodeToString(sum[:])
}

func (a *authority) tlsa201() string {
	sum := sha256.Sum256(a.root.Raw)
	return "2 0 1 " + hex.EncodeToString(sum[:])
}

var never = time.Unix(1<<34, 0)
