// SPDX-License-Identifier: Apache-2.0

package mailflow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestReply(t *testing.T) {
	t.Parallel()
	r := &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 1, 1}, Text: "No"}
	caused := r.Because(io.ErrUnexpectedEOF)
	if r.Err != nil || !errors.Is(caused, io.ErrUnexpectedEOF) || caused.String() != "550 5.1.1 No" || caused.Error() != "550 5.1.1 No: unexpected EOF" {
		t.Errorf("%v because of %v", r, caused)
	}
	if s := (&mailflow.Reply{Code: 250}).String(); s != "250" {
		t.Errorf("a bare reply is %q", s)
	}
	raw, err := json.Marshal(caused)
	if err != nil || strings.Contains(string(raw), "EOF") {
		t.Errorf("the cause is told: %s, %v", raw, err)
	}
	for code, want := range map[int]string{199: "", 200: "accepted", 299: "accepted", 354: "", 400: "temporary", 499: "temporary", 500: "permanent", 599: "permanent", 600: ""} {
		r := &mailflow.Reply{Code: code}
		got := ""
		for name, is := range map[string]bool{"accepted": r.Accepted(), "temporary": r.Temporary(), "permanent": r.Permanent()} {
			if is {
				got += name
			}
		}
		if got != want {
			t.Errorf("%d is %q", code, got)
		}
		rcpt := mailflow.Recipient{Address: mailflow.MustParseAddress("a@b.example")}
		state := map[string]mailflow.State{"accepted": mailflow.StateSent, "permanent": mailflow.StateFailed, "temporary": mailflow.StateDeferred, "": mailflow.StateDeferred}[want]
		if res := mailflow.ResultOf(rcpt, r); res.State != state || res.Reply != r || res.Recipient.Address != rcpt.Address {
			t.Errorf("%d ends as %s", code, res.State)
		}
	}
}

func TestAsReply(t *testing.T) {
	t.Parallel()
	if mailflow.AsReply(nil) != nil {
		t.Error("nil became a reply")
	}
	if r := mailflow.AsReply(fmt.Errorf("wrapped: %w", mailflow.ReplyTooBig)); r != mailflow.ReplyTooBig {
		t.Errorf("a wrapped reply became %v", r)
	}
	if r := mailflow.AsReply(io.EOF); r.Code != 451 || !errors.Is(r, io.EOF) || strings.Contains(r.String(), "EOF") {
		t.Errorf("another error became %v", r)
	}
	if mailflow.ReplyTryLater.Err != nil {
		t.Error("the shared reply was changed")
	}
}

func TestOneReply(t *testing.T) {
	t.Parallel()
	reply := func(code int) *mailflow.Reply { return &mailflow.Reply{Code: code} }
	for want, codes := range map[int][]int{
		250: {550, 250, 450}, 251: {251, 250}, 450: {550, 450, 451}, 550: {550, 552}, 552: {552},
	} {
		var rs []*mailflow.Reply
		for _, c := range codes {
			rs = append(rs, reply(c))
		}
		if got := mailflow.OneReply(rs).Code; got != want {
			t.Errorf("%v give %d, want %d", codes, got, want)
		}
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	const failure, delay, success, never = mailflow.NotifyFailure, mailflow.NotifyDelay, mailflow.NotifySuccess, mailflow.NotifyNever
	for _, c := range []struct {
		notify []mailflow.Notify
		want   string
	}{
		{nil, "FAILURE DELAY"},
		{[]mailflow.Notify{never}, ""},
		{[]mailflow.Notify{success}, "SUCCESS"},
		{[]mailflow.Notify{failure, success}, "FAILURE SUCCESS"},
		{[]mailflow.Notify{delay}, "DELAY"},
	} {
		var got []string
		for _, n := range []mailflow.Notify{failure, delay, success} {
			if (mailflow.Recipient{Notify: c.notify}).Wants(n) {
				got = append(got, string(n))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v wants %v", c.notify, got)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	final := ""
	for _, s := range mailflow.States {
		if s.Final() {
			final += string(s) + " "
		}
	}
	if final != "sent captured failed dropped expired " || mailflow.StateSending.Final() || mailflow.State("").Final() {
		t.Errorf("final are %s", final)
	}
}
