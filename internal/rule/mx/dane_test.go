// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// issue makes a certificate, signed by parent or itself.
func issue(tb testing.TB, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

// template is a certificate for names that ends in 1980.
func template(serial int64, names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "certificate", SerialNumber: big.NewInt(serial).String()},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<28, 0), DNSNames: names, IsCA: len(names) == 0, BasicConstraintsValid: true,
	}
}

func TestVerifyDANE(t *testing.T) {
	t.Parallel()
	root, rootKey := issue(t, template(1), nil, nil)
	between, betweenKey := issue(t, template(2), root, rootKey)
	leaf, _ := issue(t, template(3, "mx.example"), between, betweenKey)
	other, _ := issue(t, template(4), nil, nil)
	spki256, cert512 := sha256.Sum256(leaf.RawSubjectPublicKeyInfo), sha512.Sum512(leaf.Raw)
	between256, root256, root512 := sha256.Sum256(between.RawSubjectPublicKeyInfo), sha256.Sum256(root.Raw), sha512.Sum512(root.RawSubjectPublicKeyInfo)
	other256 := sha256.Sum256(other.Raw)
	now, later := time.Unix(1<<27, 0), time.Unix(1<<29, 0)

	full := []*x509.Certificate{leaf, between, root}
	tests := []struct {
		name  string
		tlsa  mailflow.TLSA
		chain []*x509.Certificate
		names []string
		now   time.Time
		ok    bool
	}{
		{"3 1 1", mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: spki256[:]}, full, []string{"mx.example"}, now, true},
		{"3 0 2", mailflow.TLSA{Usage: 3, Selector: 0, MatchingType: 2, Data: cert512[:]}, full, []string{"mx.example"}, now, true},
		{"3 0 0", mailflow.TLSA{Usage: 3, Data: leaf.Raw}, full, []string{"mx.example"}, now, true},
		{"3 1 1, other name, out of date, alone", mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: spki256[:]}, full[:1], []string{"mx.other"}, later, true},
		{"3 1 1 of another", mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: other256[:]}, full, []string{"mx.example"}, now, false},
		{"3 1 1 of the authority", mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: between256[:]}, full, []string{"mx.example"}, now, false},
		{"2 0 1", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: root256[:]}, full, []string{"mx.example"}, now, true},
		{"2 1 2", mailflow.TLSA{Usage: 2, Selector: 1, MatchingType: 2, Data: root512[:]}, full, []string{"mx.example"}, now, true},
		{"2 1 1 of the one between", mailflow.TLSA{Usage: 2, Selector: 1, MatchingType: 1, Data: between256[:]}, full[:2], []string{"mx.example"}, now, true},
		{"2 0 0, not sent along", mailflow.TLSA{Usage: 2, Data: root.Raw}, full[:2], []string{"mx.example"}, now, true},
		{"2 0 1, name of the domain", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: root256[:]}, full, []string{"mx.other", "mx.example"}, now, true},
		{"2 0 1, other name", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: root256[:]}, full, []string{"mx.other"}, now, false},
		{"2 0 1, out of date", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: root256[:]}, full, []string{"mx.example"}, later, false},
		{"2 0 1, not sent along", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: root256[:]}, full[:2], []string{"mx.example"}, now, false},
		{"2 0 1, put beside", mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: other256[:]}, append(full[:1:1], other), []string{"mx.example"}, now, false},
		{"2 1 1 of the leaf", mailflow.TLSA{Usage: 2, Selector: 1, MatchingType: 1, Data: spki256[:]}, full, []string{"mx.example"}, now, false},
		{"2 0 0 of garbage", mailflow.TLSA{Usage: 2, Data: []byte("garbage")}, full, []string{"mx.example"}, now, false},
		{"no certificate", mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: spki256[:]}, nil, []string{"mx.example"}, now, false},
	}
	for _, tt := range tests {
		err := VerifyDANE([]mailflow.TLSA{tt.tlsa}, tt.chain, tt.names, tt.now)
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, ErrDANE) {
			t.Errorf("%s: %v", tt.name, err)
		}
		// One that agrees is enough, wherever it stands.
		wrong := mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: other256[:]}
		err = VerifyDANE([]mailflow.TLSA{wrong, tt.tlsa, wrong}, tt.chain, tt.names, tt.now)
		if tt.ok != (err == nil) {
			t.Errorf("%s among others: %v", tt.name, err)
		}
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r    mailflow.TLSA
		want bool
	}{
		{mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, true},
		{mailflow.TLSA{Usage: 2, Selector: 0, MatchingType: 2, Data: make([]byte, 64)}, true},
		{mailflow.TLSA{Usage: 3, Data: make([]byte, 5)}, true},
		{mailflow.TLSA{Usage: 0, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 4, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 3, Selector: 2, MatchingType: 1, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 3, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 31)}, false},
		{mailflow.TLSA{Usage: 3, Selector: 1, MatchingType: 2, Data: make([]byte, 32)}, false},
		{mailflow.TLSA{Usage: 3}, false},
	}
	for _, tt := range tests {
		if got := len(Usable([]mailflow.TLSA{tt.r})) == 1; got != tt.want {
			t.Errorf("%+v: %v", tt.r, got)
		}
	}
}
