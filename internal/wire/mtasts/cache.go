// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// maxPolicies is the most policies that are kept, at most some 16 MiB of
	// them: a stranger who makes the gateway look up many domains does not fill
	// memory.
	maxPolicies = 4096
	// retryAfter is the pause after a fetch that failed (section 3.3 asks for
	// five minutes at least).
	retryAfter = 5 * time.Minute
	// sample is how many policies are looked at to find one that gives way.
	sample = 16
)

// Cache keeps the policies that were found. Its zero value is ready, and safe
// for concurrent use.
type Cache struct {
	mu      sync.Mutex
	entries map[string]entry
	flights singleflight.Group
}

// An entry is what is known of a domain.
type entry struct {
	policy  Policy // without a mode if none was found
	id      string // of the record at which it was found, or failed to be
	fetched time.Time
	failed  time.Time // when the last fetch failed; zero if it did not
}

// end is when the entry holds no longer.
func (e entry) end() time.Time {
	if e.policy.Mode == "" {
		return e.failed.Add(retryAfter)
	}
	return e.fetched.Add(e.policy.MaxAge)
}

// Client finds policies.
type Client struct {
	Fetcher

	// Cache is where policies are kept; it may be shared.
	Cache *Cache
	// Now is the clock.
	Now func() time.Time
}

// Policy returns the policy of a domain, and reports whether it has one. An
// error says why it may have one that could not be had, and changes nothing in
// what is returned.
func (c *Client) Policy(ctx context.Context, domain string) (Policy, bool, error) {
	if strings.HasPrefix(domain, "[") {
		return Policy{}, false, nil
	}
	now := c.Now()
	known, have := c.Cache.get(domain, now)
	valid := have && known.policy.Mode != ""
	txt, err := c.Resolver.TXT(ctx, "_mta-sts."+domain)
	id, announced := ParseRecord(txt.Records)
	switch {
	case err != nil || !announced:
		return known.policy, valid, temporary(err)
	case have && known.id == id && !known.stale(now):
		return known.policy, valid, nil
	}
	flight := c.Cache.flights.DoChan(domain, func() (any, error) {
		e, err := c.refresh(context.WithoutCancel(ctx), domain, id, known)
		return e, err
	})
	select {
	case <-ctx.Done():
		return known.policy, valid, context.Cause(ctx)
	case got := <-flight:
		e := got.Val.(entry)
		return e.policy, e.policy.Mode != "", got.Err
	}
}

// temporary returns err unless it says for certain that there is no record.
func temporary(err error) error {
	if errors.Is(err, mailflow.ErrNotFound) {
		return nil
	}
	return err
}

// stale reports whether the policy is to be fetched though its id is the same:
// because half of its time is over, or because it was not found the last time.
func (e entry) stale(now time.Time) bool {
	if !e.failed.IsZero() {
		return now.Sub(e.failed) >= retryAfter
	}
	return now.Sub(e.fetched) >= e.policy.MaxAge/2
}

// refresh fetches the policy and keeps what came of it.
func (c *Client) refresh(ctx context.Context, domain, id string, known entry) (entry, error) {
	p, err := c.Fetch(ctx, domain)
	now := c.Now()
	e := entry{policy: p, id: id, fetched: now}
	if err != nil {
		e = entry{policy: known.policy, id: id, fetched: known.fetched, failed: now}
	}
	c.Cache.put(domain, e, now)
	return e, err
}

// get returns what is known of a domain at now.
func (c *Cache) get(domain string, now time.Time) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[domain]
	if ok && !now.Before(e.end()) {
		delete(c.entries, domain)
		return entry{}, false
	}
	return e, ok
}

// put keeps what is known of a domain.
func (c *Cache) put(domain string, e entry, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]entry)
	}
	if _, ok := c.entries[domain]; !ok && len(c.entries) >= maxPolicies {
		c.giveWay()
	}
	if now.Before(e.end()) {
		c.entries[domain] = e
	} else {
		delete(c.entries, domain)
	}
}

// giveWay removes the entry of a small sample that ends first. A map is walked
// in random order.
func (c *Cache) giveWay() {
	var first string
	n := 0
	for domain, e := range c.entries {
		if n == 0 || e.end().Before(c.entries[first].end()) {
			first = domain
		}
		if n++; n == sample {
			break
		}
	}
	delete(c.entries, first)
}
