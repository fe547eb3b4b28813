// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Marks in front of what was looked at: what decided, and what did not.
const (
	markWon  = "→ "
	markLost = "· "
)

// explanationText returns x for a terminal: the message, the routes with what
// their handlers noted, the deliveries, and what is unknown. Nothing of it
// moves the cursor, whatever strangers wrote.
func explanationText(x *engine.Explanation) string {
	t := new(textTree)
	t.line(0, "From %s, subject %s, %d bytes", orNothing(x.From), orNothing(x.Subject), x.Size)
	for i := range x.Routes {
		t.route(&x.Routes[i])
	}
	if x.Reply != "" {
		t.gap()
		t.line(0, "The whole message is answered with: %s", x.Reply)
	}
	for i := range x.Deliveries {
		t.gap()
		number := ""
		if len(x.Deliveries) > 1 {
			number = fmt.Sprintf(" %d of %d", i+1, len(x.Deliveries))
		}
		t.delivery(number, x, &x.Deliveries[i])
	}
	if len(x.Unknown) > 0 {
		t.gap()
		t.line(0, "Unknown:")
		for _, u := range x.Unknown {
			t.line(1, "- %s", u)
		}
	}
	return t.out.String()
}

// orNothing returns s, or a word for nothing.
func orNothing(s string) string { return cmp.Or(s, "(none)") }

// textTree is indented text while it is written.
type textTree struct{ out strings.Builder }

// line writes a line at that depth.
func (t *textTree) line(depth int, format string, args ...any) {
	text := strings.TrimRight(printable(fmt.Sprintf(format, args...)), " ")
	t.out.WriteString(strings.Repeat("  ", depth) + text + "\n")
}

// gap writes an empty line.
func (t *textTree) gap() { t.out.WriteByte('\n') }

// route writes how a route decided.
func (t *textTree) route(r *engine.ExplainedRoute) {
	t.gap()
	var about []string
	if r.Domain != "" {
		about = append(about, "for "+r.Domain)
	}
	if r.Purpose != "" {
		about = append(about, r.Purpose)
	}
	name := "No route"
	if r.Route != "" {
		name = strings.ToUpper(string(r.Route[:1])) + string(r.Route[1:]) + " route"
	}
	if len(about) > 0 {
		name += ", " + strings.Join(about, ", ")
	}
	t.line(0, "%s", name)
	t.notes(r.Notes)
	if r.Error != "" {
		t.line(1, "failed: %s", r.Error)
	}
	if len(r.Recipients) == 0 {
		return
	}
	t.line(1, "recipients")
	for _, rcpt := range r.Recipients {
		text := rcpt.Address + ": " + rcpt.Outcome
		if rcpt.By != "" {
			text += " (by " + rcpt.By + ")"
		}
		t.line(2, "%s", text)
		if rcpt.Reply != "" {
			t.line(3, "answered with: %s", rcpt.Reply)
		}
	}
}

// notes writes a trace, each handler's notes below its name.
func (t *textTree) notes(notes []mailflow.Note) {
	for i, n := range notes {
		depth := 1 + n.Depth
		if i == 0 || n.Handler != notes[i-1].Handler || n.Depth != notes[i-1].Depth {
			t.line(depth, "%s", cmp.Or(n.Handler, "gateway"))
		}
		mark := markLost
		if n.Won {
			mark = markWon
		}
		text := n.Code
		if n.Text != "" {
			text += ": " + n.Text
		}
		t.line(depth+1, "%s%s", mark, text)
	}
}

// delivery writes how a delivery would leave.
func (t *textTree) delivery(number string, x *engine.Explanation, d *engine.ExplainedDelivery) {
	head := "Delivery" + number + ": " + string(d.State)
	if d.Server != "" {
		head += " for " + d.Server
	}
	if d.Reason != "" {
		head += ", " + d.Reason
	}
	t.line(0, "%s", head)
	t.line(1, "MAIL FROM:<%s>", d.MailFrom)
	for _, to := range d.RcptTo {
		t.line(1, "RCPT TO:<%s>", to)
	}
	t.line(1, "From: %s", orNothing(d.HeaderFrom))
	if d.HeaderFrom != x.From {
		t.line(2, "it came as: %s", orNothing(x.From))
	}
	if len(d.Header) > 0 {
		t.line(1, "header")
		for _, c := range d.Header {
			t.line(2, "%s", changeText(c))
		}
	}
	if d.SignAs != "" {
		t.line(1, "signed (DKIM) for %s", d.SignAs)
	} else if d.State != mailflow.StateCaptured {
		t.line(1, "not signed (DKIM)")
	}
	if len(d.Limits) > 0 {
		t.line(1, "limits")
		for _, l := range d.Limits {
			t.line(2, "%s", l)
		}
	}
	t.dmarc(d)
}

// dmarc writes what a receiver's verdict will rest on.
func (t *textTree) dmarc(d *engine.ExplainedDelivery) {
	if len(d.DMARC) == 0 {
		return
	}
	verdict := "DMARC cannot pass by this"
	for _, f := range d.DMARC {
		if f.Passes {
			verdict = "DMARC can pass"
		}
	}
	t.line(1, "%s", verdict)
	for _, f := range d.DMARC {
		mark := markLost
		if f.Passes {
			mark = markWon
		}
		t.line(2, "%s%s", mark, f.Text)
	}
}

// changeText says a change of the header.
func changeText(c mailflow.HeaderChange) string {
	switch c.Op {
	case mailflow.HeaderRemove:
		if c.Value != "" {
			return "remove " + c.Name + " with " + c.Value
		}
		return "remove " + c.Name
	case mailflow.HeaderEnsure:
		return "add, unless it is there, " + c.Name + ": " + c.Value
	case mailflow.HeaderSet, mailflow.HeaderAdd:
	}
	return string(c.Op) + " " + c.Name + ": " + c.Value
}
