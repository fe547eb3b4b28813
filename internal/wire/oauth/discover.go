// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	// maxMetadata is the most of what an issuer says of itself that is taken,
	// in bytes. Real ones are some KiB.
	maxMetadata = 256 << 10
	// metadataLife is how long it counts: endpoints hardly ever move.
	metadataLife = 24 * time.Hour
)

// found is a provider with its endpoints.
type found struct {
	provider Provider
	until    time.Time
}

// metadata is what an issuer says of itself (RFC 8414 section 2).
type metadata struct {
	Issuer  string   `json:"issuer"`
	Token   string   `json:"token_endpoint"`
	Device  string   `json:"device_authorization_endpoint"`
	Auth    string   `json:"authorization_endpoint"`
	Methods []string `json:"token_endpoint_auth_methods_supported"`
}

// endpoints returns p with its endpoints, which are looked for at the issuer
// if they are not known.
func (k *Keeper) endpoints(ctx context.Context, p Provider) (Provider, error) {
	if p.TokenURL != "" {
		return p, nil
	}
	k.mu.Lock()
	f, ok := k.found[p.Issuer]
	k.mu.Unlock()
	if ok && k.Now().Before(f.until) {
		return f.provider, nil
	}
	m, err := k.discover(ctx, p.Issuer)
	if err != nil {
		return Provider{}, fmt.Errorf("finding the endpoints of %s: %w", p.Issuer, err)
	}
	p.TokenURL, p.DeviceURL, p.AuthURL = m.Token, m.Device, m.Auth
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, "client_secret_basic") {
		p.style = oauth2.AuthStyleInParams
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.found == nil {
		k.found = make(map[string]found)
	}
	k.found[p.Issuer] = found{p, k.Now().Add(metadataLife)}
	return p, nil
}

// errNoMetadata is returned where nothing is found at a well-known place.
var errNoMetadata = errors.New("nothing is found there")

// discover reads the metadata of an issuer, from the place of OpenID Connect
// Discovery or that of RFC 8414 section 3.
func (k *Keeper) discover(ctx context.Context, issuer string) (*metadata, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	path := strings.TrimRight(u.Path, "/")
	var m *metadata
	for _, place := range []string{path + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server" + path} {
		at := *u
		at.Path = place
		if m, err = k.metadata(ctx, at.String()); !errors.Is(err, errNoMetadata) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if strings.TrimRight(m.Issuer, "/") != strings.TrimRight(issuer, "/") {
		return nil, fmt.Errorf("%w: it calls itself %q", ErrClient, plain(m.Issuer))
	}
	for _, endpoint := range []string{m.Token, m.Device, m.Auth} {
		if endpoint == "" {
			continue
		}
		if err := CheckURL(endpoint); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrClient, err)
		}
	}
	if m.Token == "" {
		return nil, fmt.Errorf("%w: it names no token endpoint", ErrClient)
	}
	return m, nil
}

// metadata reads one document.
func (k *Keeper) metadata(ctx context.Context, place string) (*metadata, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := k.client().Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	switch {
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %w", ErrClient, errNoMetadata)
	case response.StatusCode != http.StatusOK:
		return nil, providerError("", "", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMetadata))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m := new(metadata)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %s is no JSON object", ErrClient, place)
	}
	return m, nil
}
