// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func header(text string) mailflow.Header {
	return mailflow.ParseHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"))
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"References: <a@x> <b@x>":              {"<a@x>", "<b@x>"},
		"References: <a@x>\n\t<b@x>":           {"<a@x>", "<b@x>"},
		"References: <a@x><b@x>":               {"<a@x>", "<b@x>"},
		"References: <a@\n x>":                 {"<a@x>"},
		"References: Your mail of <a@x> (hi)":  {"<a@x>"},
		"References: a@x":                      {"<a@x>"},
		"References: a@x b@x":                  nil,
		"References: <<a@x>":                   {"<a@x>"},
		"References: <a@x":                     nil,
		"References: <>":                       nil,
		"References:":                          nil,
		"Subject: <a@x>":                       nil,
		"References: <a@x>\nReferences: <b@x>": {"<a@x>", "<b@x>"},
		"References: <" + strings.Repeat("a", 2000) + "@x> <b@x>": {"<b@x>"},
	} {
		if got := References(header(text)); !slices.Equal(got, want) {
			t.Errorf("%.60q gives %q, want %q", text, got, want)
		}
	}
	var many []string
	for i := range 3 * MaxIDs {
		many = append(many, fmt.Sprintf("<%d@x>", i))
	}
	got := References(header("References: " + strings.Join(many, " ")))
	if !slices.Equal(got, many[2*MaxIDs:]) {
		t.Errorf("of %d references: %q", len(many), got)
	}
	h := header("Message-ID: <m@x> <n@x>\nIn-Reply-To: Anna's message <p@x>")
	if id, parents := MessageID(h), InReplyTo(h); id != "<m@x>" || !slices.Equal(parents, []string{"<p@x>"}) {
		t.Errorf("Message-Id %q, In-Reply-To %q", id, parents)
	}
	if id := MessageID(header("Subject: none")); id != "" {
		t.Errorf("Message-Id %q of none", id)
	}
}

func TestThreadIndex(t *testing.T) {
	t.Parallel()
	const first = "AdXEDPWnRtGkg8iEQTGqRkyx3nWcyg=="
	const answer = "AdXEDPWnRtGkg8iEQTGqRkyx3nWcygAAGAMQ"
	one, two := ThreadIndex(header("Thread-Index: "+first)), ThreadIndex(header("Thread-Index: "+answer[:20]+"\n "+answer[20:]))
	if one == "" || one != two {
		t.Errorf("a mail has %q, its answer %q", one, two)
	}
	for _, text := range []string{"Thread-Index: AdXE", "Thread-Index: ???", "Subject: x"} {
		if got := ThreadIndex(header(text)); got != "" {
			t.Errorf("%s gives %q", text, got)
		}
	}
}

// FuzzIDs looks for an id that is none.
func FuzzIDs(f *testing.F) {
	f.Add("<a@x> <b@x>")
	f.Add("a@x")
	f.Add("<<>>")
	f.Fuzz(func(t *testing.T, text string) {
		for _, id := range ids(text) {
			if len(id) < 3 || id[0] != '<' || id[len(id)-1] != '>' || strings.ContainsAny(id[1:len(id)-1], "<> \t\r\n") || len(id) > maxID+2 {
				t.Fatalf("%q has the id %q", text, id)
			}
		}
	})
}
