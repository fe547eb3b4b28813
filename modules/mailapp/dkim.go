// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/dkimsign"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// provisionSigners makes the signers of the domains that have keys. It reads no
// key: that is done at each use, so that one that was replaced counts at once.
func (a *App) provisionSigners() error {
	for _, configured := range slices.Sorted(maps.Keys(a.Domains)) {
		d := a.Domains[configured]
		if d == nil || len(d.DKIM) == 0 {
			continue
		}
		name, err := normalizeName(configured)
		if err != nil {
			return fmt.Errorf("domain %s: %w", configured, err)
		}
		signer, err := newSigner(name, d.DKIM)
		if err != nil {
			return fmt.Errorf("domain %s: dkim: %w", configured, err)
		}
		put[mailflow.Signer](&a.config.Signers, name, signer)
	}
	return nil
}

// newSigner returns what signs the mail of domain with those keys.
func newSigner(domain string, configured []DKIMKey) (*dkimsign.Signer, error) {
	var keys []dkimsign.Key
	for _, k := range configured {
		if k.bare() {
			return nil, fmt.Errorf("the key of selector %s stands there without its PEM lines; write the path of its file", k.Selector)
		}
		keys = append(keys, dkimsign.Key{Selector: k.Selector, Text: k.text})
	}
	return dkimsign.New(domain, keys)
}

// warnKeys tells of keys that cannot be used now. Their mail is held, so an
// operator should hear of it before a mail shows it.
func (a *App) warnKeys() {
	for _, name := range slices.Sorted(maps.Keys(a.config.Signers)) {
		signer, ok := a.config.Signers[name].(*dkimsign.Signer)
		if !ok {
			continue
		}
		if err := signer.Check(); err != nil {
			a.logger.Error("a DKIM key cannot be used, the mail of its domain is held", zap.String("domain", name), zap.Error(err))
		}
	}
}

// inline reports whether the key itself stands in the configuration, in PEM.
func (k DKIMKey) inline() bool { return strings.Contains(k.Key, "-----BEGIN ") }

// bareKeys are what base64 of a private key begins with, RSA and Ed25519.
var bareKeys = []string{"MII", "MC4CAQ", "MFECAQ"}

// bare reports whether the key itself stands in the configuration, without the
// lines that PEM has round it. It must not be taken for a path, since paths
// stand in errors.
func (k DKIMKey) bare() bool {
	return !k.inline() && (strings.ContainsAny(k.Key, "\r\n") ||
		slices.ContainsFunc(bareKeys, func(begin string) bool { return strings.HasPrefix(k.Key, begin) }))
}

// text returns the private key in PEM, as it is now. What stands in one
// placeholder is the key; anything else is the path of its file.
func (k DKIMKey) text() (string, error) {
	if k.inline() {
		return k.Key, nil
	}
	value, err := expand(k.Key)
	if err != nil {
		return "", fmt.Errorf("%w: see that the file or the variable is there, has the key, and may be read by the gateway", err)
	}
	if strings.HasPrefix(k.Key, "{") && strings.HasSuffix(k.Key, "}") {
		return value, nil
	}
	return readKeyFile(value)
}

// readKeyFile reads a file as far as it can be a key.
func readKeyFile(path string) (_ string, err error) {
	f, err := os.Open(path) //nolint:gosec // the operator names a file of his own
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: make one with `mail dkim generate DOMAIN SELECTOR`, or correct the path", err)
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%w: let the user that the gateway runs as read it", err)
	case err != nil:
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, dkimsign.MaxKeyText+1))
	if err != nil {
		return "", fmt.Errorf("%w: name the file of the private key", err)
	}
	return string(text), nil
}
