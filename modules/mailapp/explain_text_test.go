// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestExplanationText prints the explanations of testdata/explain/NAME.json
// and compares them with NAME.txt.
func TestExplanationText(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/explain/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no explanations", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var x engine.Explanation
			if err := json.Unmarshal(text, &x); err != nil {
				t.Fatal(err)
			}
			got := explanationText(&x)
			if *update {
				if err := os.WriteFile(name+".txt", []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}
