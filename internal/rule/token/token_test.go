// SPDX-License-Identifier: Apache-2.0

package token

import (
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTokenComesBack(t *testing.T) {
	t.Parallel()
	keys, made := Keys(nil).Rotate(begin)
	if !made {
		t.Fatal("no first key")
	}
	const id = "d4f0k2s6n88q1v3m0a9g"
	tok := keys.Sign(mailflow.TokenDelivery, id)
	if want := len("bounce+") + len(tok); want > 64 {
		t.Errorf("the local part is %d octets long", want)
	}
	for _, text := range []string{tok, strings.ToUpper(tok)} {
		if got, ok := keys.Verify(mailflow.TokenDelivery, text); !ok || got != id {
			t.Errorf("%s gives %q, %v", text, got, ok)
		}
	}
	other, _ := Keys(nil).Rotate(begin)
	for name, bad := range map[string]string{
		"empty": "", "id alone": id, "short": tok[1:], "long": tok + "0", "changed": "e" + tok[1:], "no id": tok[len(id):],
	} {
		if got, ok := keys.Verify(mailflow.TokenDelivery, bad); ok {
			t.Errorf("%s: %s is taken as %q", name, bad, got)
		}
	}
	if _, ok := keys.Verify(mailflow.TokenMessage, tok); ok {
		t.Error("a token of another kind is taken")
	}
	if _, ok := other.Verify(mailflow.TokenDelivery, tok); ok {
		t.Error("a token of other keys is taken")
	}
	if Keys(nil).Sign(mailflow.TokenDelivery, id) != "" {
		t.Error("signed without a key")
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	keys, _ := Keys(nil).Rotate(begin)
	first := keys.Sign(mailflow.TokenMessage, "a1")
	if _, made := keys.Rotate(begin.Add(Lifetime - time.Second)); made {
		t.Error("rotated too early")
	}
	now := begin
	for range MaxKeys - 1 {
		now = now.Add(Lifetime)
		var made bool
		if keys, made = keys.Rotate(now); !made {
			t.Fatal("not rotated")
		}
	}
	if _, ok := keys.Verify(mailflow.TokenMessage, first); !ok {
		t.Error("an old key does not verify")
	}
	if keys.Sign(mailflow.TokenMessage, "a1") == first {
		t.Error("the old key still signs")
	}
	if keys, _ = keys.Rotate(now.Add(Lifetime)); len(keys) != MaxKeys {
		t.Errorf("%d keys", len(keys))
	}
	if _, ok := keys.Verify(mailflow.TokenMessage, first); ok {
		t.Error("a key beyond the bound verifies")
	}
}

// FuzzVerify looks for a token that was not given out.
func FuzzVerify(f *testing.F) {
	keys, _ := Keys(nil).Rotate(begin)
	f.Add("a1", keys.Sign(mailflow.TokenDelivery, "a1"))
	f.Fuzz(func(t *testing.T, id, text string) {
		if got, ok := keys.Verify(mailflow.TokenDelivery, text); ok && keys.Sign(mailflow.TokenDelivery, got) != strings.ToLower(text) {
			t.Fatalf("%q is taken as %q", text, got)
		}
		if id != strings.ToLower(id) || id == "" {
			return
		}
		if got, ok := keys.Verify(mailflow.TokenDelivery, keys.Sign(mailflow.TokenDelivery, id)); !ok || got != id {
			t.Fatalf("%q comes back as %q, %v", id, got, ok)
		}
	})
}
