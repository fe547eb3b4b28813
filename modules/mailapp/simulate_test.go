// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

func TestSimulateRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"no config":  {`{"since":"7d"}`, http.StatusBadRequest, "there is no configuration to try"},
		"negative":   {`{"since":"-7d","config":{}}`, http.StatusBadRequest, "since is negative"},
		"no time":    {`{"since":"soon","config":{}}`, http.StatusBadRequest, "soon"},
		"limit":      {`{"limit":10001,"config":{}}`, http.StatusBadRequest, "limit 10001 is not a number from 1 to 10000"},
		"unknown":    {`{"kept":"7d","config":{}}`, http.StatusBadRequest, "kept"},
		"no JSON":    {`Caddyfile`, http.StatusBadRequest, "not the JSON object"},
		"long":       {strings.Repeat(" ", maxTrial+1), http.StatusRequestEntityTooLarge, "longer than"},
		"no gateway": {`{"config":{}}`, http.StatusServiceUnavailable, "not running; load a configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, text := call(t, newFakeOperator(), httptest.NewRequest(http.MethodPost, "/mail/simulate", strings.NewReader(tt.body)))
			if status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%d %s, want %d %s", status, text, tt.status, tt.want)
			}
		})
	}
}

// TestSimulateCommand prints what a gateway answers, and asks it what the
// flags say.
func TestSimulateCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new.json")
	if err := os.WriteFile(file, []byte(`{"apps": {"mail": {"hostname": "mx.example"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	result := trialResult{
		Checked: 1, Since: noon, Count: 2, Cut: "it took longer",
		Differences: []engine.Difference{{
			Message: "m1", Received: noon, From: "Bob <bob@b.example>", Subject: "a\x1b[2J", Recipient: "to@a.example",
			Before: "unrouted: nobody", After: "drop: not wanted",
		}},
	}
	var asked trial
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.Path != "/mail/simulate" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		_ = reply(w, http.StatusOK, result)
	})
	out, err := runCommand(t, h, "", "simulate", "--config", file, "--since", "12h", "--limit", "5")
	since := noon.Local().Format("2006-01-02 15:04:05")
	want := "m1, " + since + ", from Bob <bob@b.example>: a\ufffd[2J\n  to@a.example\n    before: unrouted: nobody\n    after:  drop: not wanted\n\n" +
		"… and 1 more; show them with --limit\n\n2 recipients of 1 message since " + since + " decided differently.\nNot all: it took longer.\n"
	if err != nil || out != want {
		t.Errorf("%v, printed\n%s\nwant\n%s", err, out, want)
	}
	if time.Duration(asked.Since) != 12*time.Hour || asked.Limit != 5 || string(asked.Config) != `{"hostname":"mx.example"}` {
		t.Errorf("asked %+v, config %s", asked, asked.Config)
	}
	out, err = runCommand(t, h, "", "simulate", "--config", file, "--json")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if err != nil || len(lines) != 2 || !strings.Contains(lines[0], `"before":"unrouted: nobody"`) ||
		lines[1] != `{"checked":1,"different":2,"since":"2026-11-21T12:00:00Z","cut":"it took longer"}` {
		t.Errorf("%v, printed %s", err, out)
	}
}
