// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
)

// TestRefusalsLogged turns thousands of connections away: there is one line a
// second, and the lines say all together how many they were.
func TestRefusalsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		door, away := &SMTP{Name: "mx", log: zap.New(core)}, &refusals{listener: "mx"}
		refuse := func(n int) {
			for range n {
				door.report(away, smtpguard.Incident{Kind: smtpguard.TooManySessions, IP: netip.MustParseAddr("192.0.2.1")})
			}
		}
		want := func(when string, lines int, total int64) {
			t.Helper()
			synctest.Wait()
			sum, all := int64(0), logs.TakeAll()
			for _, l := range all {
				fields := l.ContextMap()
				if l.Message != "connection refused, too many sessions" || fields["listener"] != "mx" {
					t.Errorf("%s: %q %v", when, l.Message, fields)
				}
				if n, ok := fields["left_out"].(int64); ok {
					sum += n
				} else if fields["ip"] == "192.0.2.1" {
					sum++
				}
			}
			if len(all) != lines || sum != total {
				t.Errorf("%s: %d lines about %d connections, want %d about %d", when, len(all), sum, lines, total)
			}
		}
		refuse(5000)
		want("at once", 1, 1)
		time.Sleep(refusalPause)
		want("a second later", 1, 4999)
		refuse(10)
		time.Sleep(refusalPause / 2)
		refuse(10)
		want("within the pause", 0, 0)
		time.Sleep(refusalPause / 2)
		want("after it", 1, 20)
		time.Sleep(refusalPause)
		refuse(1)
		want("after silence", 1, 1)
		time.Sleep(refusalPause)
		want("in the end", 0, 0)
	})
}

// TestRefusalsOutlive has the configurations of a listener share its line.
func TestRefusalsOutlive(t *testing.T) {
	t.Parallel()
	before, after := refusalsOf(t.Context(), "outliving"), refusalsOf(t.Context(), "outliving")
	if before != after {
		t.Error("each configuration logs for itself")
	}
	if before == refusalsOf(t.Context(), "another") {
		t.Error("two listeners share one line")
	}
}
