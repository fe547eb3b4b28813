// SPDX-License-Identifier: Apache-2.0

package conformance

import "testing"

// TestJudgeRouting lets no difference pass that nothing explains.
func TestJudgeRouting(t *testing.T) {
	t.Parallel()
	posted := func(change func(*outcome)) outcome {
		o := outcome{
			Outcome: "posted", Threads: []string{"new:a", "new:b"}, Reasons: []string{"refused_unknown_author", "route_alias"},
			Records:  []newRecord{{Model: "a", Name: orNil("n"), EmailFrom: `"N" <n@x.de>`, Followers: []string{"a@x.de", "b@x.de"}}},
			Messages: []routedMessage{{Thread: "new:a", Subtype: "mail.mt_comment", EmailFrom: "n@x.de", Subject: orNil("\uFFFD\uFFFD s")}},
			Sent:     []sentRefusal{{RcptTo: []string{"n@x.de"}}},
		}
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		change func(*outcome)
		codes  []string
		want   string
	}{
		"nothing":                    {func(*outcome) {}, nil, passed},
		"order":                      {func(o *outcome) { o.Threads = []string{"new:b", "new:a"} }, nil, passed},
		"spelling":                   {func(o *outcome) { o.Records[0].EmailFrom = "N <n@x.de>"; o.Messages[0].Subject = orNil("\uFFFD s") }, nil, passed},
		"outcome":                    {func(o *outcome) { o.Outcome = "no_route" }, nil, failed},
		"threads":                    {func(o *outcome) { o.Threads = o.Threads[:1] }, nil, failed},
		"name":                       {func(o *outcome) { o.Records[0].Name = nil }, nil, failed},
		"followers":                  {func(o *outcome) { o.Records[0].Followers = nil }, nil, failed},
		"author":                     {func(o *outcome) { o.Messages[0].Author = orNil("n@x.de") }, nil, failed},
		"parent":                     {func(o *outcome) { o.Messages[0].Parent = orNil("<p@x>") }, nil, failed},
		"parent, explained":          {func(o *outcome) { o.Messages[0].Parent = orNil("<p@x>") }, []string{"fix:flat_parent"}, "fix:flat_parent"},
		"record, not explained":      {func(o *outcome) { o.Records[0].Name = nil }, []string{"fix:flat_parent"}, failed},
		"refusal to another":         {func(o *outcome) { o.Sent[0].RcptTo = []string{"m@x.de"} }, nil, failed},
		"refusal for another reason": {func(o *outcome) { o.Reasons[0] = "refused_not_follower" }, nil, failed},
		"exact, but not refused":     {func(o *outcome) { o.Threads = nil }, []string{"fix:exact_contact"}, failed},
		"exact":                      {func(o *outcome) { o.Outcome, o.Threads = "alias_refused", nil }, []string{"fix:exact_contact"}, "fix:exact_contact"},
	} {
		want := posted(func(*outcome) {})
		if got, fields := judgeRouting(posted(c.change), want, c.codes); got != c.want {
			t.Errorf("%s: %s (%v), want %s", name, got, fields, c.want)
		}
	}
}
