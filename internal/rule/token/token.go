// SPDX-License-Identifier: Apache-2.0

// Package token makes and reads signed tokens: names of our own things that
// travel through other people's mail and come back, in the local part of an
// address or of a Message-Id. What comes back with a good signature was given
// out by us; nothing else needs to be remembered about it.
//
// A token is the ID of the thing and a signature of it (HMAC-SHA-256, cut to
// 80 bits). It consists of lower-case letters and digits and does not depend
// on case, since some systems change that. The kind of thing is signed too, so
// that a token for one purpose is none for another.
//
// Keys are rotated: the newest signs, all of them verify.
package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// secretSize is that of the hash: more adds nothing (RFC 2104 section 3).
	secretSize = sha256.Size
	// macSize is cut so that token, name and "+" fit the 64 octets of a local
	// part. Guessing 80 bits needs as many mails.
	macSize = 10
	// Lifetime is how long a key signs before the next one does.
	Lifetime = 90 * 24 * time.Hour
	// MaxKeys bounds the keys that verify: eight years of them. Mail that is
	// older gets no more answers.
	MaxKeys = 32
)

// Key is one signing key.
type Key struct {
	// Secret is what it signs with.
	Secret []byte `json:"secret"`
	// Made is when it began to sign.
	Made time.Time `json:"made"`
}

// Keys are signing keys, the newest first. They implement [mailflow.Tokens],
// do not change and are safe for concurrent use.
type Keys []Key

var _ mailflow.Tokens = Keys(nil)

// Rotate returns ks with a new key in front if the newest is too old at now,
// or missing, and whether that is so.
func (ks Keys) Rotate(now time.Time) (Keys, bool) {
	if len(ks) > 0 && now.Sub(ks[0].Made) < Lifetime {
		return ks, false
	}
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	return append(Keys{{Secret: secret, Made: now.UTC().Truncate(time.Second)}}, ks[:min(len(ks), MaxKeys-1)]...), true
}

// encoding gives lower-case letters and digits.
var encoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// macLen is the length of an encoded signature.
var macLen = encoding.EncodedLen(macSize)

// Sign returns the token for the thing of that kind and ID, which consists of
// lower-case letters and digits. Without keys it returns "".
func (ks Keys) Sign(kind mailflow.TokenKind, id string) string {
	if len(ks) == 0 {
		return ""
	}
	return id + ks[0].mac(kind, id)
}

// Verify returns the ID that text is a token of that kind for.
func (ks Keys) Verify(kind mailflow.TokenKind, text string) (id string, ok bool) {
	text = strings.ToLower(text)
	if len(text) <= macLen {
		return "", false
	}
	id, mac := text[:len(text)-macLen], text[len(text)-macLen:]
	for i := range ks {
		if hmac.Equal([]byte(ks[i].mac(kind, id)), []byte(mac)) {
			return id, true
		}
	}
	return "", false
}

func (k *Key) mac(kind mailflow.TokenKind, id string) string {
	h := hmac.New(sha256.New, k.Secret)
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return encoding.EncodeToString(h.Sum(nil)[:macSize])
}
