// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"sync"
	"time"
)

// Bounds of the cache.
const (
	// maxEntries is the most answers that are kept, some 20 MiB of them. A
	// stranger who makes the gateway look up many names does not fill memory.
	maxEntries = 20000
	// maxTTL bounds how long an answer is kept: an operator who corrects a
	// record waits no longer. The name servers keep it longer if they like.
	maxTTL = time.Hour
	// minTTL is how long an answer is kept at least: those who ask at the same
	// time get the same answer.
	minTTL = 5 * time.Second
	// maxNegativeTTL bounds how long it is kept that there is no record.
	maxNegativeTTL = 15 * time.Minute
	// sample is how many entries are looked at to find one to give up.
	sample = 16
)

// A cache keeps answers until they end.
type cache struct {
	mu      sync.Mutex
	entries map[question]entry
}

type entry struct {
	result

	end time.Time
}

// get returns the answer to q that holds at now.
func (c *cache) get(q question, now time.Time) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if ok && !now.Before(e.end) {
		delete(c.entries, q)
		ok = false
	}
	return e.result, ok
}

// put keeps an answer until end.
func (c *cache) put(q question, found result, end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[q]; !ok && len(c.entries) >= maxEntries {
		c.giveUp()
	}
	c.entries[q] = entry{found, end}
}

// giveUp removes the entry of a small sample that ends first. A map is walked
// in random order.
func (c *cache) giveUp() {
	var first question
	var end time.Time
	n := 0
	for q, e := range c.entries {
		if n == 0 || e.end.Before(end) {
			first, end = q, e.end
		}
		if n++; n == sample {
			break
		}
	}
	delete(c.entries, first)
}
