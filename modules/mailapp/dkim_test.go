// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

const toSign = "From: anna@a.example\r\nTo: bob@b.example\r\nSubject: Hello\r\n\r\nHello\r\n"

// generate runs `mail dkim generate --json ARGS`. No gateway answers.
func generate(t *testing.T, args ...string) (*generatedKey, error) {
	t.Helper()
	out, err := runCommand(t, http.NotFoundHandler(), "", append([]string{"dkim", "generate", "--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	made := new(generatedKey)
	if err := json.Unmarshal([]byte(out), made); err != nil {
		t.Fatal(err)
	}
	return made, nil
}

func mustGenerate(t *testing.T, args ...string) *generatedKey {
	t.Helper()
	made, err := generate(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// signers returns what signs for a.example with those keys.
func signers(keys ...DKIMKey) (mailflow.Signer, *App, error) {
	a := &App{Domains: map[string]*Domain{"A.example": {DKIM: keys}, "b.example": {}, "c.example": nil}, config: new(engine.Config)}
	err := a.provisionSigners()
	return a.config.Signers["a.example"], a, err
}

// signs reports whether what s signs is valid by the record.
func signs(t *testing.T, s mailflow.Signer, name, value string) bool {
	t.Helper()
	fields, err := s.Sign(t.Context(), strings.NewReader(toSign))
	if err != nil {
		t.Fatal(err)
	}
	found, err := dkim.VerifyWithOptions(strings.NewReader(string(fields)+toSign), &dkim.VerifyOptions{
		LookupTXT: func(asked string) ([]string, error) {
			if asked != name {
				return nil, nil
			}
			return []string{value}, nil
		},
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	return found[0].Err == nil
}

// TestDKIMGenerate reads the record as a name server does, and verifies by it.
func TestDKIMGenerate(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"rsa", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			made := mustGenerate(t, "a.example", "S1", "--type", kind, "--out", dir)
			if want := filepath.Join(dir, "a.example.s1.pem"); made.File != want || made.Caddyfile != "dkim s1 "+want {
				t.Errorf("file %s, line %s", made.File, made.Caddyfile)
			}
			if info, err := os.Stat(made.File); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			rr, err := dns.NewRR(made.Zone)
			if err != nil {
				t.Fatalf("%v\n%s", err, made.Zone)
			}
			txt := rr.(*dns.TXT)
			if txt.Hdr.Name != made.Name+"." || strings.Join(txt.Txt, "") != made.Value {
				t.Errorf("zone file says %v", txt)
			}
			s, _, err := signers(DKIMKey{"s1", made.File})
			if err != nil {
				t.Fatal(err)
			}
			if !signs(t, s, "s1._domainkey.a.example", strings.Join(txt.Txt, "")) {
				t.Error("the record does not verify what the key signs")
			}
			if !strings.Contains(made.Value, "k="+kind+";") {
				t.Errorf("record %s", made.Value)
			}
		})
	}
}

func TestDKIMGenerateRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := mustGenerate(t, "a.example", "s1", "--type", "ed25519", "--out", dir)
	before, err := os.ReadFile(kept.File)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"a.example s1 --type ed25519 --out " + dir, "is there already"},
		{"a.example s1 --type ed25519 --out " + kept.File, "choose another selector"},
		{"a.example s2 --type ed25519 --out " + dir + "/no/", "make its directory first"},
		{"a.example s2 --type ed25519 --out " + dir + "/{x}", "cannot stand in a Caddyfile"},
		{"a.example s2 --type ed25519 --bits 2048", "--bits is for RSA keys"},
		{"a.example s2 --type dsa", `"dsa" is no kind of DKIM key: use rsa or ed25519`},
		{"a.example s2 --bits 1024", "1024 bits, which can be broken"},
		{"a.example s_2", `"s_2" is no DKIM selector`},
		{"a..example s2", "a..example"},
		{"a.example", "accepts 2 arg(s)"},
	} {
		if _, err := generate(t, strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.args, err, tt.want)
		}
	}
	if after, err := os.ReadFile(kept.File); err != nil || string(after) != string(before) {
		t.Errorf("the key was changed: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// TestDKIMKeys gives a key in each way that an operator can.
func TestDKIMKeys(t *testing.T) {
	made := mustGenerate(t, "a.example", "s1", "--type", "ed25519", "--out", t.TempDir())
	text, err := os.ReadFile(made.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DKIM_KEY", string(text))
	t.Setenv("DKIM_DIR", filepath.Dir(made.File))
	for name, key := range map[string]string{
		"path":                  made.File,
		"file placeholder":      "{file." + made.File + "}",
		"variable":              "{env.DKIM_KEY}",
		"path with placeholder": "{env.DKIM_DIR}/a.example.s1.pem",
		"inline":                string(text),
	} {
		s, _, err := signers(DKIMKey{"s1", key})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !signs(t, s, made.Name, made.Value) {
			t.Errorf("%s: another key signs", name)
		}
	}
}

// TestDKIMKeyReplaced changes the file of a key: no reload is needed.
func TestDKIMKeyReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustGenerate(t, "a.example", "s1", "--type", "ed25519", "--out", dir+"/first")
	second := mustGenerate(t, "a.example", "s1", "--type", "ed25519", "--out", dir+"/second")
	for _, key := range []string{first.File, "{file." + first.File + "}"} {
		s, a, err := signers(DKIMKey{"s1", key})
		if err != nil {
			t.Fatal(err)
		}
		if !signs(t, s, first.Name, first.Value) {
			t.Errorf("%s: the first key does not sign", key)
		}
		if err := os.Rename(first.File, dir+"/kept"); err != nil {
			t.Fatal(err)
		}
		if fields, err := s.Sign(t.Context(), strings.NewReader(toSign)); err == nil || fields != nil ||
			!strings.Contains(err.Error(), "loading the DKIM key s1 of a.example: ") {
			t.Errorf("%s: without its file: got %q, %v", key, fields, err)
		}
		core, logs := observer.New(zap.WarnLevel)
		a.logger = zap.New(core)
		a.warnKeys()
		if logs.FilterMessage("a DKIM key cannot be used, the mail of its domain is held").FilterField(zap.String("domain", "a.example")).Len() != 1 {
			t.Errorf("%s: logged %v", key, logs.All())
		}
		if err := os.Link(second.File, first.File); err != nil {
			t.Fatal(err)
		}
		if !signs(t, s, second.Name, second.Value) {
			t.Errorf("%s: the second key does not sign", key)
		}
		a.warnKeys()
		if logs.Len() != 1 {
			t.Errorf("%s: logged %v", key, logs.All())
		}
		if err := os.Rename(dir+"/kept", first.File); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDKIMKeysRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		keys []DKIMKey
		want string
	}{
		{"three", []DKIMKey{{"a", "/k"}, {"b", "/k"}, {"c", "/k"}}, "domain A.example: dkim: 3 DKIM keys for a.example: receivers need not look at"},
		{"alike", []DKIMKey{{"a", "/k"}, {"A", "/k"}}, "two DKIM keys of a.example have the selector a"},
		{"selector", []DKIMKey{{"a_b", "/k"}}, `"a_b" is no DKIM selector`},
		{"bare key", []DKIMKey{{"a", "MC4CAQAwBQYDK2VwBCIEI"}}, "selector a stands there without its PEM lines"},
		{"bare lines", []DKIMKey{{"a", "zzzz\nsecret"}}, "selector a stands there without its PEM lines"},
	} {
		_, _, err := signers(tt.keys...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "MC4")) {
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
}

// TestDKIMKeyUnusable holds each error to its cause and its next step.
func TestDKIMKeyUnusable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, content := dir+"/empty", dir+"/content"
	for path, text := range map[string]string{empty: "", content: "secret"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ key, want string }{
		{dir + "/none", "mail dkim generate"},
		{dir, "name the file of the private key"},
		{empty, "no PEM block"},
		{content, "no PEM block"},
		{"{file." + dir + "/none}", "see that the file or the variable is there"},
		{"{file." + content + "}", "no PEM block"},
		{"{env.NO_SUCH_VARIABLE_HERE}", "see that the file or the variable is there"},
	} {
		s, _, err := signers(DKIMKey{"s1", tt.key})
		if err != nil {
			t.Errorf("%s: %v", tt.key, err)
			continue
		}
		_, err = s.Sign(t.Context(), strings.NewReader(toSign))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", tt.key, err, tt.want)
		}
		if tt.key == dir+"/none" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
}
