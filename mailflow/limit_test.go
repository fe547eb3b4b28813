// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"errors"
	"testing"
	"time"
)

func TestLimitHasOneText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Limit{
		"200/day": {200, Day}, "50/h": {50, time.Hour}, "30/min": {30, time.Minute}, "14/s": {14, time.Second},
	} {
		got, err := ParseLimit(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q gives %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "200", "/day", "0/day", "-1/day", "1.5/s", "200/week", "200/ day", "99999999999/s", "200/day/s"} {
		if l, err := ParseLimit(text); !errors.Is(err, ErrLimit) {
			t.Errorf("%q gives %v, %v", text, l, err)
		}
	}
}
