// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the gateway to what was recorded of a real Odoo
// 17.0. The cases and the deliberate differences are described in README.md.
package conformance

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	vectors = flag.String("vectors", "testdata", "directory of the recorded cases")
	results = flag.String("results", "", "file to write the outcome of each case to")
)

// maxFixes is the part of the cases, in percent, that may differ deliberately.
const maxFixes = 5

// selectionCase is one case of server-selection.json.
type selectionCase struct {
	ID      string            `json:"id"`
	Note    string            `json:"note"`
	Config  selectionConfig   `json:"config"`
	Servers []selectionServer `json:"servers"`
	Mail    selectionMail     `json:"mail"`
	Expect  map[string]sentBy `json:"expect"`
}

// selectionConfig is what the operator of Odoo had set; nil is not set.
type selectionConfig struct {
	Domain            string `json:"domain"`
	DefaultFrom       string `json:"default_from"`
	BounceAlias       string `json:"bounce_alias"`
	CatchallAlias     string `json:"catchall_alias"`
	DefaultFromFilter string `json:"default_from_filter"`
	CliFromFilter     string `json:"cli_from_filter"`
	CliEmailFrom      string `json:"cli_email_from"`
}

type selectionServer struct {
	Name       string `json:"name"`
	Priority   int    `json:"priority"`
	FromFilter string `json:"from_filter"`
	Active     bool   `json:"active"`
}

type selectionMail struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Server     string `json:"server"`
	ReturnPath string `json:"return_path"`
}

// sentBy is what became of the mail of a case.
type sentBy struct {
	Sent    []sentMail `json:"sent"`
	Failure *failure   `json:"failure,omitempty"`
}

type sentMail struct {
	Server           string   `json:"server"`
	MailFrom         string   `json:"mail_from"`
	RcptTo           []string `json:"rcpt_to"`
	HeaderFrom       string   `json:"header_from"`
	HeaderReturnPath *string  `json:"header_return_path"`
	HeaderReplyTo    *string  `json:"header_reply_to"`
}

type failure struct {
	State  string `json:"state"`
	Type   any    `json:"type"`
	Reason string `json:"reason"`
}

// verdict is one line of the results.
type verdict struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict"`
	Got     sentBy `json:"got"`
}

// The verdicts; a deliberate difference is "fix:CODE".
const (
	passed = "pass"
	failed = "fail"
	fix    = "fix:"
)

// TestServerSelection sends the mail of each recorded case through a gateway
// with `behavior odoo` that is configured alike, and compares what arrives.
func TestServerSelection(t *testing.T) {
	var file struct {
		Cases []selectionCase `json:"cases"`
	}
	readVectors(t, "server-selection.json", &file)
	names := []string{cli}
	for _, c := range file.Cases {
		for _, s := range c.Servers {
			names = append(names, s.Name)
		}
	}
	g := startGateway(t, names)
	var out bytes.Buffer
	counts := make(map[string]int)
	for _, c := range file.Cases {
		v := g.play(t, &c)
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
		kind, _, _ := strings.Cut(v.Verdict, ":")
		counts[kind]++
		switch {
		case v.Verdict == failed:
			want, _ := json.Marshal(c.Expect["17.0"])
			t.Errorf("%s (%s): got %s, want %s", c.ID, c.Note, line, want)
		case v.Verdict != passed:
			t.Logf("%s (%s): %s", c.ID, c.Note, v.Verdict)
		}
	}
	if counts["fix"]*100 > maxFixes*len(file.Cases) {
		t.Errorf("%d of %d cases differ deliberately, more than %d %%", counts["fix"], len(file.Cases), maxFixes)
	}
	total := fmt.Sprintf("server-selection 17.0: passed %d of %d, fixes %d, failed %d",
		counts[passed], len(file.Cases), counts["fix"], counts[failed])
	fmt.Fprintln(&out, total)
	fmt.Println(total)
	if *results != "" {
		if err := os.WriteFile(*results, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readVectors reads a file of recorded cases.
func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(*vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// The fields that are compared.
const (
	fieldServer     = "server"
	fieldMailFrom   = "mail_from"
	fieldRcptTo     = "rcpt_to"
	fieldHeaderFrom = "header_from"
	fieldFailure    = "failure"
	fieldCount      = "sent"
)

// fixes names for each deliberate difference the fields that it is about. It
// counts for no other. Those about fewer fields come first.
var fixes = []struct {
	code   string
	fields []string
}{
	{"keep_name", []string{fieldHeaderFrom}},
	{"idn", []string{fieldServer, fieldMailFrom, fieldHeaderFrom}},
	{"filter_syntax", []string{fieldServer, fieldMailFrom, fieldHeaderFrom}},
	{"from_address", []string{fieldMailFrom, fieldHeaderFrom, fieldFailure, fieldCount}},
}

// judge compares what became of a mail with what was recorded. The codes are
// those of the deliberate differences that the decision's trace names.
func judge(got, want sentBy, codes []string) string {
	fields := differences(got, want)
	if len(fields) == 0 {
		return passed
	}
	for _, f := range fixes {
		other := func(field string) bool { return !slices.Contains(f.fields, field) }
		if slices.Contains(codes, fix+f.code) && !slices.ContainsFunc(fields, other) {
			return fix + f.code
		}
	}
	return failed
}

// differences returns the fields that differ.
func differences(got, want sentBy) []string {
	var fields []string
	if state(got.Failure) != state(want.Failure) {
		fields = append(fields, fieldFailure)
	}
	if len(got.Sent) != len(want.Sent) {
		return append(fields, fieldCount)
	}
	for i, g := range got.Sent {
		w := want.Sent[i]
		for field, same := range map[string]bool{
			fieldServer:     g.Server == w.Server,
			fieldMailFrom:   g.MailFrom == w.MailFrom,
			fieldRcptTo:     slices.Equal(slices.Sorted(slices.Values(g.RcptTo)), slices.Sorted(slices.Values(w.RcptTo))),
			fieldHeaderFrom: g.HeaderFrom == w.HeaderFrom,
		} {
			if !same {
				fields = append(fields, field)
			}
		}
	}
	return fields
}

func state(f *failure) string {
	if f == nil {
		return ""
	}
	return f.State
}
