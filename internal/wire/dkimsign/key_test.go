// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encode returns der as PEM.
func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	block, _ := pem.Decode([]byte(rsaKey()))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private.(*rsa.PrivateKey)))
	for name, key := range map[string]Key{
		"PKCS #1":           {"r1", fixed(pkcs1)},
		"PKCS #8":           {"r1", fixed(rsaKey())},
		"Ed25519":           {"e1", fixed(ed25519Key())},
		"text before":       {"e1", fixed("# made in 2026\n" + ed25519Key() + "\n")},
		"another one first": {"e1", fixed(encode("EC PARAMETERS", []byte{5, 0}) + ed25519Key())},
		"CRLF":              {"e1", fixed(strings.ReplaceAll(ed25519Key(), "\n", "\r\n"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := signer(t, key)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]bool{true}, verify(t, sign(t, s, plain))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// weak is an RSA key of 1024 bits, which was made for this test.
const weak = `-----BEGIN RSA TEST KEY-----
MIICXAIBAAKBgQC+2bAx2GxKNJYOT3OXUzFrbVbYJeWaowUto+A/xRSFBdfC00Mt
SfWcUTXil5Ohq5TEIaxG6HAFzhe8WyXhn7jH0TT5vW9SqseVhlHQLGNimHgk/1JO
NVdjcL5oqD9RNNwwZe99ABTxrYA7JDhsep3n0oCI7OnJ8AP4TbM5H5jPSQIDAQAB
AoGATpJGlK7aHk65/Fg/aWxpqyWPnFs1xM0ao6iU+QwFH6LBKkdZn7qUMG/KtGfc
8rE2BO0sBOFKxUkMwpHv7YyZQIrXrObFska1bYayCAnpAkPXyVsj6gE4ZjjgnP1z
BL07WojcEJSHjr81mToLudRJCOBJS2WfY/Exc3WVGK7PrVUCQQD7yLcLhcWEF0Bh
K+Lxc4B+ey6DDQfRJkNtjjLAZuBb9GIHuID1ioKneeHeoaSRnsgE3AGDOfBRy2nn
xsMLRoC7AkEAwgvHIsv3gnEtXC8E0+x00X0WyxYPfdqA4kjyjHIqiaP6PT9Kv9H4
xlshebBctnugVhmKONzk/SMAoDHWDZABywJAWYvM7eApmwzZ7LU7BTxa2qDcrecY
fJ3rJS+JhTwRVyLXKn/H/YvBY+bJGfDLIq8h2/iS4STd/3kktTXPcFcmuQJBAKEV
LeZQ89KxKTqRPay/aepNsRI96fZL4Rn3/IFidLV2DlGxrNe38pCXLh7arNw/nEZd
RUUW+nC5EdfqBwuTNCkCQHvvrOV44p2HeW+JPE7mzlOBxmfxKmRocjTn9ywPgNmH
1GDXTtKO1MNxncd9NjPUzdd+C1h09cdWUjZV7JBVeEE=
-----END RSA TEST KEY-----
`

func TestKeyRefused(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Repeat("c2VjcmV0", 8)
	const generate = "`mail dkim generate DOMAIN SELECTOR`"
	tests := []struct{ name, text, want string }{
		{"empty", "", "it has no PEM block"},
		{"no PEM", secret, generate},
		{"cut off", "-----BEGIN PRIVATE KEY-----\n" + secret, "it has no PEM block"},
		{"damaged", encode("PRIVATE KEY", []byte(secret)), "it is damaged"},
		{"damaged PKCS #1", encode("RSA PRIVATE KEY", []byte(secret)), "it is damaged"},
		{"public", encode("PUBLIC KEY", []byte(secret)), "it is the public half"},
		{"another thing", encode("DH PARAMETERS", []byte(secret)), "it has no private key"},
		{"encrypted", encode("ENCRYPTED PRIVATE KEY", []byte(secret)), "openssl pkey"},
		{"SEC 1", encode("EC PRIVATE KEY", sec1), "neither an RSA nor an Ed25519 key"},
		{"ECDSA", encode("PRIVATE KEY", pkcs8), "neither an RSA nor an Ed25519 key"},
		{"1024 bits", strings.ReplaceAll(weak, "TEST KEY", "PRIVATE KEY"), "RSA key of 1024 bits, which can be broken: make one of 2048 with " + generate},
		{"a large file", strings.Repeat(secret, 2000), "longer than a key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := signer(t, Key{"s1", fixed(tt.text)})
			fields, err := s.Sign(t.Context(), strings.NewReader(plain))
			if err == nil || fields != nil {
				t.Fatalf("got %q, %v", fields, err)
			}
			if !strings.HasPrefix(err.Error(), "loading the DKIM key s1 of example.com: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to have %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the key: %v", err)
			}
			if check := s.Check(); check == nil || check.Error() != err.Error() {
				t.Errorf("Check: got %v", check)
			}
		})
	}
}

// TestKeyChanges has a key that is gone, is back, and is another one.
func TestKeyChanges(t *testing.T) {
	t.Parallel()
	gone := errors.New("no such file")
	text, fail := ed25519Key(), error(nil)
	s := signer(t, Key{"e1", func() (string, error) { return text, fail }})
	holds := func() bool { return verify(t, sign(t, s, plain))[0] }
	if !holds() {
		t.Error("the first key does not sign")
	}
	fail = gone
	if _, err := s.Sign(t.Context(), strings.NewReader(plain)); !errors.Is(err, gone) {
		t.Errorf("without its key: got %v", err)
	}
	fail, text = nil, "nothing"
	if err := s.Check(); err == nil {
		t.Error("a key that is none is taken")
	}
	text = mustGenerate(Ed25519, 0)
	if holds() {
		t.Error("the first key signs after it was replaced")
	}
	text = ed25519Key()
	if !holds() {
		t.Error("the first key does not sign when it is back")
	}
}

// TestKeyParsedOnce counts what an attempt costs: parsing an RSA key costs as
// much as using it.
func TestKeyParsedOnce(t *testing.T) {
	t.Parallel()
	k := &key{selector: "r1", text: fixed(rsaKey())}
	first, err := k.load()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := k.load(); err != nil || second != first {
		t.Errorf("the same text is parsed again: %v", err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind Kind
		bits int
		want string
	}{
		{"dsa", 2048, `"dsa" is no kind of DKIM key`},
		{RSA, 1024, "1024 bits"},
		{RSA, 8192, "need not take more than 4096"},
	} {
		if _, err := Generate(tt.kind, tt.bits); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %d: got %v", tt.kind, tt.bits, err)
		}
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	if _, err := Record("no key"); err == nil {
		t.Error("a record of nothing")
	}
	value, err := Record(rsaKey())
	if err != nil || !strings.HasPrefix(value, "v=DKIM1; k=rsa; p=MIIBIjANBgkq") {
		t.Errorf("got %q, %v", value, err)
	}
	parts := Strings(value)
	if len(parts) != 2 || len(parts[0]) != maxString || parts[0]+parts[1] != value {
		t.Errorf("got %q", parts)
	}
	// RFC 8463 appendix A.2.
	const example = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
	value, err = Record(example)
	if want := "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="; value != want || err != nil {
		t.Errorf("got %q, %v, want %q", value, err, want)
	}
	if parts := Strings(value); len(parts) != 1 || parts[0] != value {
		t.Errorf("got %q", parts)
	}
}
