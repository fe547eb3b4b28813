// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// maxPolicy is the most bytes of a policy that are taken (section 3.3).
	maxPolicy = 64 << 10
	// maxAddresses is the most addresses of a server that are tried.
	maxAddresses = 4
	// fetchTimeout bounds a fetch as a whole (section 3.3): mail waits for it.
	fetchTimeout = 30 * time.Second
	// dialTimeout bounds the connection to one address.
	dialTimeout = 5 * time.Second
	// path is where a server keeps the policy.
	path = "/.well-known/mta-sts.txt"
)

// Fetcher fetches policies by HTTPS.
type Fetcher struct {
	// Resolver finds the servers.
	Resolver mailflow.Resolver
	// Dial opens a connection; nil for that of [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots are the authorities to trust; nil for those of the system.
	Roots *x509.CertPool
}

// Fetch fetches the policy of a domain (section 3.3).
func (f *Fetcher) Fetch(ctx context.Context, domain string) (Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	p, err := f.get(ctx, "https://mta-sts."+domain+path)
	if err != nil {
		return Policy{}, fmt.Errorf("fetching the MTA-STS policy of %s: %w", domain, err)
	}
	return p, nil
}

// get fetches and reads one policy.
func (f *Fetcher) get(ctx context.Context, url string) (Policy, error) {
	transport := &http.Transport{
		DialContext:       f.dial,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.Roots},
		DisableKeepAlives: true,
		// Headers are a stranger's input too.
		MaxResponseHeaderBytes: maxPolicy,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // section 3.3: not followed
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return Policy{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return Policy{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("server answered %d", response.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, errors.New("it is no text/plain")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	switch {
	case err != nil:
		return Policy{}, err
	case len(body) > maxPolicy:
		return Policy{}, fmt.Errorf("it is longer than %d bytes", maxPolicy)
	}
	return ParsePolicy(string(body))
}

// dial opens a connection to a host that the resolver finds.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	found, err := f.Resolver.IPs(ctx, host)
	if err != nil {
		return nil, err
	}
	dial := f.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var errs []error
	for _, ip := range found.Records[:min(len(found.Records), maxAddresses)] {
		dialing, cancel := context.WithTimeout(ctx, dialTimeout)
		nc, err := dial(dialing, network, net.JoinHostPort(ip.String(), port))
		cancel()
		if err == nil {
			return nc, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
