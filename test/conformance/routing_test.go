// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
)

// Bounds on how many cases may differ deliberately and fail, in percent.
const (
	maxRoutingFixes    = 10
	maxRoutingFailures = 2
)

// later are the groups whose handlers are still to come.
var later = map[string]bool{"bounce": true, "loop": true}

// routingCase is one case of routing.json.
type routingCase struct {
	ID       string             `json:"id"`
	Group    string             `json:"group"`
	Note     string             `json:"note"`
	Raw      string             `json:"raw"`
	Raw64    string             `json:"raw_b64"`
	Fallback string             `json:"fallback_model"`
	Thread   string             `json:"fallback_thread"`
	Setup    routingSetup       `json:"setup"`
	Expect   map[string]outcome `json:"expect"`
}

// routingSetup is what is changed before a case.
type routingSetup struct {
	Params   map[string]string `json:"params"`
	Allowed  []string          `json:"allowed_senders"`
	NoDomain bool              `json:"no_domain"`
	Mails    []string          `json:"mails"`
	Records  []struct {
		Model     string `json:"model"`
		EmailFrom string `json:"email_from"`
		Count     int    `json:"count"`
		Minutes   int    `json:"minutes_ago"`
	} `json:"records"`
	Messages []struct {
		Record    string `json:"record"`
		Author    string `json:"author"`
		EmailFrom string `json:"email_from"`
		Count     int    `json:"count"`
		Minutes   int    `json:"minutes_ago"`
	} `json:"messages"`
}

// mail returns the bytes of the case's mail, with CRLF.
func (c *routingCase) mail() (string, error) {
	raw := c.Raw
	if c.Raw64 != "" {
		b, err := base64.StdEncoding.DecodeString(c.Raw64)
		if err != nil {
			return "", err
		}
		return string(b), nil
	}
	return crlf(raw), nil
}

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// outcome is what became of a mail.
type outcome struct {
	Outcome  string          `json:"outcome"`
	Threads  []string        `json:"threads"`
	Reasons  []string        `json:"reasons"`
	Error    string          `json:"error,omitempty"`
	Records  []newRecord     `json:"new_records,omitempty"`
	Messages []routedMessage `json:"messages,omitempty"`
	Sent     []sentRefusal   `json:"sent,omitempty"`
}

type newRecord struct {
	Model     string   `json:"model"`
	Name      *string  `json:"name"`
	EmailFrom string   `json:"email_from"`
	Followers []string `json:"followers"`
}

type routedMessage struct {
	Thread    string  `json:"thread"`
	MessageID string  `json:"message_id"`
	Subtype   string  `json:"subtype"`
	Author    *string `json:"author"`
	EmailFrom string  `json:"email_from"`
	Subject   *string `json:"subject"`
	Parent    *string `json:"parent"`
}

type sentRefusal struct {
	MailFrom      string   `json:"mail_from"`
	RcptTo        []string `json:"rcpt_to"`
	From          string   `json:"from"`
	To            string   `json:"to"`
	Subject       string   `json:"subject"`
	ReplyTo       string   `json:"reply_to"`
	References    string   `json:"references"`
	AutoSubmitted string   `json:"auto_submitted"`
}

// routingVerdict is one line of the results.
type routingVerdict struct {
	ID      string  `json:"id"`
	Verdict string  `json:"verdict"`
	Got     outcome `json:"got"`
	// Fields are those that differ.
	Fields []string `json:"fields,omitempty"`
}

// TestRouting brings the mail of each recorded case in as a fetched one, with
// `behavior odoo`, into a store with the people, threads and aliases of the
// recording, and compares what becomes of it.
func TestRouting(t *testing.T) {
	var file struct {
		Cases []routingCase `json:"cases"`
	}
	readVectors(t, "routing.json", &file)
	w := newWorld(t)
	var out bytes.Buffer
	groups := make(map[string]map[string]int)
	for _, c := range file.Cases {
		v := w.play(t, &c)
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
		kind, _, _ := strings.Cut(v.Verdict, ":")
		if groups[c.Group] == nil {
			groups[c.Group] = make(map[string]int)
		}
		groups[c.Group][kind]++
		if v.Verdict != passed {
			want, _ := json.Marshal(c.Expect["17.0"])
			t.Logf("%s, %s (%s): %s\nwant %s", c.ID, c.Group, c.Note, line, want)
		}
	}
	all, held := make(map[string]int), make(map[string]int)
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		n := groups[group]
		fmt.Fprintln(&out, total("routing 17.0 "+group, n))
		for kind := range n {
			all[kind] += n[kind]
			if !later[group] {
				held[kind] += n[kind]
			}
		}
	}
	if n := sum(held); held[failed]*100 > maxRoutingFailures*n || held["fix"]*100 > maxRoutingFixes*n {
		t.Errorf("too many differ: %s", total("without bounce and loop", held))
	}
	fmt.Println(total("routing 17.0 without bounce and loop", held))
	fmt.Fprintln(&out, total("routing 17.0", all))
	fmt.Println(total("routing 17.0", all))
	if *results != "" {
		if err := os.WriteFile(*results, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func total(what string, n map[string]int) string {
	return fmt.Sprintf("%s: passed %d of %d, fixes %d, failed %d", what, n[passed], sum(n), n["fix"], n[failed])
}

// The fields that are compared.
const (
	fieldOutcome  = "outcome"
	fieldThreads  = "threads"
	fieldRecords  = "new_records"
	fieldMessages = "messages"
	fieldRefusals = "sent"
)

// routingFixes names for each deliberate difference the fields that it is
// about. It counts for no other. Those about fewer fields come first.
var routingFixes = []struct {
	code   string
	fields []string
}{
	{"loop_refusal", []string{fieldRefusals}},
	{"flat_parent", []string{fieldMessages}},
	{"one_subject", []string{fieldRecords, fieldMessages}},
	{"same_model_alias", []string{fieldThreads, fieldRecords, fieldMessages}},
	{"minted_id", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
	{"exact_contact", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
	{"dup_content", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
	{"header_line", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
	{"params", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
	{"no_loss", []string{fieldOutcome, fieldThreads, fieldRecords, fieldMessages, fieldRefusals}},
}

// judgeRouting compares what became of a mail with what was recorded. The
// codes are those of the deliberate differences that the decision names.
func judgeRouting(got, want outcome, codes []string) (string, []string) {
	fields := routingDifferences(got, want)
	if len(fields) == 0 {
		return passed, nil
	}
	switch {
	case want.Outcome == "error":
		codes = []string{fix + "no_loss"}
	case want.Outcome != "posted" || got.Outcome != "alias_refused":
		// Odoo lets in whom we refuse.
		codes = slices.DeleteFunc(slices.Clone(codes), func(c string) bool { return c == alias.FixExactContact })
	}
	for _, f := range routingFixes {
		other := func(field string) bool { return !slices.Contains(f.fields, field) }
		if slices.Contains(codes, fix+f.code) && !slices.ContainsFunc(fields, other) {
			return fix + f.code, fields
		}
	}
	return failed, fields
}

// routingDifferences returns the fields that differ.
func routingDifferences(got, want outcome) []string {
	var fields []string
	differ := func(field string, same bool) {
		if !same {
			fields = append(fields, field)
		}
	}
	differ(fieldOutcome, got.Outcome == want.Outcome)
	differ(fieldThreads, slices.Equal(sorted(got.Threads), sorted(want.Threads)))
	differ(fieldRecords, reflect.DeepEqual(lines(got.Records), lines(want.Records)))
	differ(fieldMessages, reflect.DeepEqual(lines(got.Messages), lines(want.Messages)))
	differ(fieldRefusals, slices.Equal(refusals(got), refusals(want)))
	return fields
}

func sorted(all []string) []string { return slices.Sorted(slices.Values(all)) }

// lines returns the values as sorted lines.
func lines[T newRecord | routedMessage](all []T) []string {
	out := []string{}
	for _, v := range all {
		out = append(out, plain(v))
	}
	slices.Sort(out)
	return out
}

// plain returns a value in the form in which it is compared: addresses as they
// are written, an author's name without quotes, bad characters as one.
func plain(v any) string {
	switch v := v.(type) {
	case newRecord:
		v.EmailFrom = plainFrom(v.EmailFrom)
		slices.Sort(v.Followers)
		return fmt.Sprintf("%s %q %q %q", v.Model, text(v.Name), v.EmailFrom, v.Followers)
	case routedMessage:
		return fmt.Sprintf("%s %s %q %q %q %q", v.Thread, v.Subtype, text(v.Author), plainFrom(v.EmailFrom), text(v.Subject), text(v.Parent))
	}
	panic(fmt.Sprintf("%T is not compared", v))
}

// text returns what s points to, with runs of bad characters as one; "" for
// nil.
func text(s *string) string {
	if s == nil {
		return ""
	}
	const bad = "\uFFFD"
	t := strings.ToValidUTF8(*s, bad)
	for strings.Contains(t, bad+bad) {
		t = strings.ReplaceAll(t, bad+bad, bad)
	}
	return t
}

// refusals returns to whom refusals were sent, and why.
func refusals(o outcome) []string {
	var all []string
	for _, s := range o.Sent {
		all = append(all, "to "+strings.Join(sorted(s.RcptTo), " "))
	}
	if len(all) > 0 {
		for _, r := range o.Reasons {
			if strings.HasPrefix(r, "refused_") || strings.HasPrefix(r, "catchall_") || strings.HasPrefix(r, "loop_") || r == "alias_misconfigured" {
				all = append(all, r)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
