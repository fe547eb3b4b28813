// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Day is the period of a limit that begins anew at local midnight.
const Day = 24 * time.Hour

// Limit bounds how many recipients are handed over in a period. Its text is
// "200/day", "50/h", "30/min" or "14/s".
type Limit struct {
	// Count is the most in one period; above 0.
	Count int
	// Per is the period: [Day], an hour, a minute or a second.
	Per time.Duration
}

// maxLimit bounds a limit: more than any server sends in a day.
const maxLimit = 1_000_000_000

var periods = []struct {
	name string
	per  time.Duration
}{{"day", Day}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}

// ErrLimit is what every error of [ParseLimit] wraps.
var ErrLimit = errors.New("no limit")

// ParseLimit reads the text of a limit. Errors wrap [ErrLimit] and say what to
// write.
func ParseLimit(text string) (Limit, error) {
	count, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if ok && err == nil && n > 0 && n <= maxLimit {
		for _, p := range periods {
			if p.name == per {
				return Limit{Count: n, Per: p.per}, nil
			}
		}
	}
	return Limit{}, fmt.Errorf("%w: %q; write a number above 0 and a period, such as 200/day, 50/h, 30/min or 14/s", ErrLimit, text)
}

// String returns the text of l.
func (l Limit) String() string {
	for _, p := range periods {
		if p.per == l.Per {
			return strconv.Itoa(l.Count) + "/" + p.name
		}
	}
	return fmt.Sprintf("%d/%s", l.Count, l.Per)
}
