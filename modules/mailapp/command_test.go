// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// runCommand runs `mailcaddy mail ARGS` against a server with h as its admin
// API.
func runCommand(t *testing.T, h http.Handler, stdin string, args ...string) (string, error) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	root := &cobra.Command{Use: "mailcaddy", SilenceUsage: true, SilenceErrors: true}
	mail := &cobra.Command{Use: "mail"}
	mailCommand(mail)
	root.AddCommand(mail)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append([]string{"mail", "--address", server.Listener.Addr().String()}, args...))
	err := root.Execute()
	return out.String(), err
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   string
		change func(f *fakeOperator)
		want   []string // in what is printed
		fails  string   // in the error; empty if there is none
	}{
		{name: "help", args: "", want: []string{"unrouted", "--json"}},
		{name: "unknown command", args: "queues", fails: `unknown command "queues"`},
		{name: "unknown queue command", args: "queue lost", fails: `unknown command "lost"`},
		{name: "list", args: "queue list", want: []string{
			"ID  STATE     SERVER  FROM",
			"d4  sending   relay   Ann <ann@a.example>",
			"450 4.2.0 later\n",
		}},
		{name: "list empty", args: "queue list", change: func(f *fakeOperator) { f.rows = nil }, want: []string{"The queue is empty.\n"}},
		{name: "list nothing like that", args: "queue list --state failed", want: []string{"No delivery is like that.\n"}},
		{name: "list narrowed", args: "queue list --state deferred --server relay --limit 5 --message m-d2 --json", want: []string{`"id": "d2"`}},
		{name: "list empty json", args: "queue list --state failed --json", want: []string{"[]\n"}},
		{name: "list bad state", args: "queue list --state lost", fails: `unknown state "lost"`},
		{name: "list with argument", args: "queue list d1", fails: "d1"},
		{name: "list hostile", args: "queue list", change: func(f *fakeOperator) { f.rows[0].Subject = "a\x1b]0;b\x07\u202ec\nd" }, want: []string{"a\ufffd]0;b\ufffd\ufffdc d"}},
		{name: "show", args: "queue show d2", want: []string{"Delivery:    d2\n", "Last reply:  450 4.2.0 later\n", "Decided:     1 choose_server:server_chosen\n", "Due:"}},
		{name: "show json", args: "queue show --json d2", want: []string{`"trace": "1 choose_server:server_chosen"`, `"reply": "450 4.2.0 later"`}},
		{name: "show none", args: "queue show d9", fails: "delivery d9: no such record"},
		{name: "show raw over TCP", args: "queue show d2 --raw", fails: "admin unix//"},
		{name: "hold", args: "queue hold d3 --reason look", want: []string{"d3 is held now\n"}},
		{name: "release", args: "queue release d5 --server other", want: []string{"d5 is queued now\n"}},
		{name: "drop", args: "queue drop d5 d3", want: []string{"d5 is dropped now\n", "d3 is dropped now\n"}},
		{name: "drop some", args: "queue drop d1 d3 d9", want: []string{"d3 is dropped now\n"}, fails: "cannot drop delivery d1: it is captured, and that is final\ndelivery d9: no such record"},
		{name: "drop some json", args: "queue drop --json d1 d3", want: []string{`"error": "cannot drop delivery d1`, `"state": "dropped"`}, fails: "d1"},
		{name: "drop nothing", args: "queue drop", fails: "requires at least 1 arg"},
		{name: "hold with server", args: "queue hold d3 --server other", fails: "unknown flag: --server"},
		{name: "retry", args: "queue retry d2", want: []string{"d2 is queued now\n"}},
		{name: "retry all", args: "queue retry --all", want: []string{"d2 is queued now\n"}},
		{name: "retry all of nothing", args: "queue retry --all", change: func(f *fakeOperator) { f.rows = nil }, want: []string{"There is nothing to do.\n"}},
		{name: "retry neither", args: "queue retry", fails: "say --all"},
		{name: "retry both", args: "queue retry d2 --all", fails: "say --all"},
		{name: "unrouted", args: "unrouted list", want: []string{"m-u", "stranger@c.example", "no handler claimed it\n"}},
		{name: "unrouted empty", args: "unrouted list", change: func(f *fakeOperator) { f.box = nil }, want: []string{"The unrouted box is empty.\n"}},
		{name: "unrouted json", args: "unrouted list --json --limit 3", want: []string{`"id": "m-u"`}},
		{name: "unrouted show", args: "unrouted show m-u", want: []string{"Message:   m-u\n", "By:        smtp2525\n"}},
		{name: "unrouted raw over TCP", args: "unrouted show m-u --raw", fails: "admin unix//"},
		{name: "unrouted drop", args: "unrouted drop m-u", want: []string{"m-u is dropped now\n"}},
		{name: "unrouted drop none", args: "unrouted drop m-x", fails: "no such record"},
		{name: "unrouted route", args: "unrouted route m-u --thread t1", want: []string{"m-u is in thread t1 now\n"}},
		{name: "unrouted route json", args: "unrouted route m-u m-x --alias sales@a.example --json", want: []string{`"thread": "opened-by-sales"`, `"error": "unrouted message m-x`}, fails: "no such record"},
		{name: "unrouted route nowhere", args: "unrouted route m-u", fails: "at least one of the flags in the group [alias thread] is required"},
		{name: "unrouted route to both", args: "unrouted route m-u --thread t1 --alias a@a.example", fails: "none of the others can be"},
		{name: "unrouted show routed", args: "unrouted show m-u", change: func(f *fakeOperator) { f.box[0].Routed = noon }, want: []string{"Routed: "}},
		{name: "test", args: "test outgoing relay --from a@b.example", want: []string{"STEP     TIME  RESULT\nconnect  1ms\n"}},
		{name: "test failed", args: "test outgoing relay", change: func(f *fakeOperator) {
			f.report = mailflow.TestReport{
				Steps: []mailflow.TestStep{
					{Name: "connect", Took: time.Second, Detail: "127.0.0.1:25"},
					{Name: "auth", Took: 2 * time.Millisecond, Detail: "PLAIN", Error: "535 no", Hint: "look at the password"},
				},
				Unproven: []string{"that mail arrives"},
			}
		}, want: []string{
			"connect  1s    127.0.0.1:25\n", "auth     2ms   PLAIN\n", "failed: 535 no\n", "look at the password\n",
			"\nNot shown by this test:\n- that mail arrives\n",
		}, fails: "the test of relay failed"},
		{name: "test json", args: "test outgoing relay --json", want: []string{`"ok": true`}},
		{name: "test none", args: "test outgoing other", fails: `no outgoing server is named "other"`},
		{name: "not running", args: "queue list", change: func(f *fakeOperator) { f.stopped = true }, fails: "the mail app is not running; load a configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeOperator()
			if tt.change != nil {
				tt.change(f)
			}
			out, err := runCommand(t, adminOf(f), "", strings.Fields(tt.args)...)
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("printed\n%s\nwithout %q", out, want)
				}
			}
			checkError(t, err, tt.fails)
		})
	}
}

// checkError reports an error that does not say want; "" wants none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Errorf("no error, want one with %q", want)
	case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestCommandWithoutGateway(t *testing.T) {
	t.Parallel()
	_, err := runCommand(t, adminOf(newFakeOperator()), "", "queue", "list", "--address", "127.0.0.1:1")
	checkError(t, err, "no gateway answers at 127.0.0.1:1; start one with `mailcaddy run --config Caddyfile`")
	_, err = runCommand(t, http.NotFoundHandler(), "", "queue", "list")
	checkError(t, err, "has no mail in its admin API")
}

// door is an SMTP server that keeps what it is sent.
type door struct {
	smtp.Session

	text []byte
}

func (d *door) NewSession(*smtp.Conn) (smtp.Session, error) { return d, nil }
func (*door) Mail(string, *smtp.MailOptions) error          { return nil }
func (*door) Reset()                                        {}
func (*door) Logout() error                                 { return nil }

func (*door) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such address"}
	}
	return nil
}

func (d *door) Data(r io.Reader) (err error) {
	if d.text, err = io.ReadAll(r); err != nil {
		return err
	}
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "OK, queued as m1"}
}

// open starts d and returns an admin API that knows its address.
func (d *door) open(t *testing.T) http.Handler {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(d)
	s.EnableSMTPUTF8 = true
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = ln.Close() // the server may not know it yet
		_ = s.Close()
		<-done //nolint:errcheck // it is closed
	})
	mux := http.NewServeMux()
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
	}
	answer("/mail/health", healthReport{Listeners: []engine.DoorStatus{
		{Name: "box", Addresses: []string{"/run/box.sock"}},
		{Name: "lmtp", Addresses: []string{"127.0.0.1:24"}},
		{Name: "mx", Addresses: []string{"127.0.0.1:25"}},
		{Name: "login", Addresses: []string{"127.0.0.1:587"}},
		{Name: "outside", Addresses: []string{"[::]:587"}},
		{Name: "submission", Addresses: []string{ln.Addr().String()}},
	}})
	answer("/config/apps/mail/listeners", map[string]any{
		"lmtp":  map[string]any{"protocol": "lmtp"},
		"login": map[string]any{"protocol": "smtp", "submit": map[string]any{}},
		"submission": map[string]any{"protocol": "smtp", "receive": true, "submit": map[string]any{
			"networks": []string{"10.0.0.0/8", "127.0.0.1"},
		}},
		"mx": map[string]any{"protocol": "smtp", "receive": true},
	})
	return mux
}

func TestSend(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mail.eml")
	const mail = "From: x@y.example\nTo: z@y.example\nSubject: own\nDate: d\nMessage-Id: <i>\n\n.dot\n"
	if err := os.WriteFile(file, []byte(mail), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, args, stdin string
		want              string // in the message
		prints, fails     string
	}{
		{
			name: "text", args: "--from a@b.example --to c@d.example --subject Hé", stdin: "one\n..two\nthree",
			want: "Subject: =?utf-8?q?H=C3=A9?=\r\n", prints: "submission took it: 250 2.0.0 OK, queued as m1\n",
		},
		{name: "text body", args: "--from a@b.example --to c@d.example -", stdin: "one\n..two\nthree", want: "\r\n\r\none\r\n..two\r\nthree\r\n"},
		{name: "8-bit", args: "--from a@b.example --to c@d.example", stdin: "é", want: "\r\n\r\né\r\n"},
		{name: "file", args: "--from a@b.example --to c@d.example --to e@d.example --json " + file, want: strings.ReplaceAll(mail, "\n", "\r\n"), prints: `"listener": "submission"`},
		{name: "by name", args: "--from a@b.example --to c@d.example --listener submission", want: "From: a@b.example\r\n"},
		{name: "unknown listener", args: "--from a@b.example --to c@d.example --listener x", fails: "there is no listener x; there are: box, lmtp,"},
		{name: "socket", args: "--from a@b.example --to c@d.example --listener box", fails: "listener box has no TCP address"},
		{name: "refused", args: "--from a@b.example --to nobody@d.example", fails: "RCPT TO:<nobody@d.example>: 550 5.1.1 No such address"},
		{name: "no sender", args: "--to c@d.example", fails: `required flag(s) "from"`},
		{name: "null sender", args: "--from= --to c@d.example", want: "To: c@d.example\r\n"},
		{name: "bad sender", args: "--from a@ --to c@d.example", fails: "--from: not a mail address"},
		{name: "bad recipient", args: "--from a@b.example --to c@", fails: `--to "c@": not a mail address`},
		{name: "two subjects", args: "--from a@b.example --to c@d.example --subject x " + file, fails: "the message has a subject: own"},
		{name: "no file", args: "--from a@b.example --to c@d.example no-such-file", fails: "no-such-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := new(door)
			out, err := runCommand(t, d.open(t), tt.stdin, append([]string{"send"}, strings.Fields(tt.args)...)...)
			checkError(t, err, tt.fails)
			if !strings.Contains(out, tt.prints) {
				t.Errorf("printed %q, want %q", out, tt.prints)
			}
			if tt.want == "" {
				return
			}
			if !strings.Contains(string(d.text), tt.want) {
				t.Errorf("sent %q, want %q", d.text, tt.want)
			}
		})
	}
}

func TestDraft(t *testing.T) {
	t.Parallel()
	d := &draft{
		from: mailflow.MustParseAddress("a@b.example"),
		to:   []mailflow.Address{mailflow.MustParseAddress("c@d.example"), mailflow.MustParseAddress("e@d.example")},
		now:  noon, id: "ID",
	}
	const (
		made = "From: a@b.example\r\nTo: c@d.example, e@d.example\r\nSubject: \r\n" + dated
		text = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	)
	for in, want := range map[string]string{
		"":                          made + text,
		"hello":                     made + text + "hello\r\n",
		"a\r\nb\rc\n":               made + text + "a\r\nb\r\nc\r\n",
		"Note: milk\n":              made + text + "Note: milk\r\n",
		"Subject: x\nand no more":   made + text + "Subject: x\r\nand no more\r\n",
		"\nSubject: x\n\n":          made + text + "\r\nSubject: x\r\n\r\n",
		"subject: x\n\nhi":          "From: a@b.example\r\nTo: c@d.example, e@d.example\r\n" + dated + "subject: x\r\n\r\nhi\r\n",
		"To: x\n y\nX-A: b\n\nhi\n": "From: a@b.example\r\nSubject: \r\n" + dated + "To: x\r\n y\r\nX-A: b\r\n\r\nhi\r\n",
	} {
		got, err := d.complete([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

const dated = "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-Id: <ID@b.example>\r\n"

func TestNamedDoorAnyAddress(t *testing.T) {
	t.Parallel()
	got, err := namedDoor([]engine.DoorStatus{{Name: "smtp", Addresses: []string{"[::]:587"}}}, "smtp")
	if err != nil || got.Address != "localhost:587" {
		t.Errorf("got %+v, %v", got, err)
	}
}
