// SPDX-License-Identifier: Apache-2.0

package caddyblock

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

func init() { caddy.RegisterModule(guest{}) }

// guest is the module that a block of the tests names.
type guest struct {
	Level int `json:"level,omitempty"`
}

func (guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddyblock.guests.polite", New: func() caddy.Module { return new(guest) }}
}

func (g *guest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return Read(d, Options{"level": Int(&g.Level, 1, 9)})
}

type mode string

// fields has one field of each kind.
type fields struct {
	Name   string
	First  string
	Second string
	Hosts  []string
	Path   []string
	Set    map[string]string
	Every  caddy.Duration
	Retry  []caddy.Duration
	Count  int
	Size   int64
	Mode   mode
	Flag   bool
	Sure   *bool
	Args   []string
	Others []string
	Guest  json.RawMessage
	Inner  inner
}

type inner struct {
	Depth int
	Bare  bool
}

// block is a table with an option of each kind.
func (f *fields) block() Block {
	return Block{
		Kind: "test",
		Args: Func(func(d *caddyfile.Dispenser) error {
			f.Args = d.RemainingArgs()
			return nil
		}),
		Options: Options{
			"name":  String(&f.Name),
			"words": Words(&f.First, &f.Second),
			"hosts": Strings(&f.Hosts),
			"path":  Strings(&f.Path).Once(),
			"set":   Pairs(&f.Set),
			"every": Duration(&f.Every),
			"retry": Durations(&f.Retry),
			"count": Int(&f.Count, 1, 100),
			"size":  Size(&f.Size),
			"mode":  Enum(&f.Mode, "slow", "fast"),
			"flag":  Flag(&f.Flag),
			"sure":  YesNo(&f.Sure),
			"guest": Guest(&f.Guest, "caddyblock.guests", "guest", "guest"),
			"bare":  {},
			"inner": Sub(Options{"depth": Int(&f.Inner.Depth, 0, 5), "bare": Flag(&f.Inner.Bare)}),
		},
		Other: func(d *caddyfile.Dispenser) error {
			if !strings.HasPrefix(d.Val(), "@") {
				return ErrUnknown
			}
			f.Others = append(f.Others, d.Val())
			for _, token := range d.NextSegment()[1:] {
				f.Others = append(f.Others, token.Text)
			}
			return nil
		},
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     fields
	}{
		{"no block", "test", fields{}},
		{"empty block", "test {\n}", fields{}},
		{"arguments", "test :25 :587", fields{Args: []string{":25", ":587"}}},
		{"arguments and block", "test :25 {\n flag\n}", fields{Args: []string{":25"}, Flag: true}},
		{"scalars", "test {\n name x\n every 1d\n count 100\n size 35MiB\n mode fast\n bare\n}", fields{
			Name: "x", Every: caddy.Duration(24 * time.Hour), Count: 100, Size: 35 << 20, Mode: "fast",
		}},
		{"yes", "test {\n sure yes\n}", fields{Sure: new(true)}},
		{"no", "test {\n sure no\n}", fields{Sure: new(false)}},
		{"words", "test {\n words a b\n}", fields{First: "a", Second: "b"}},
		{"lists add up", "test {\n hosts a b\n hosts c\n path a b\n}", fields{Hosts: []string{"a", "b", "c"}, Path: []string{"a", "b"}}},
		{"pairs add up", "test {\n set a 1\n set b \"2 3\"\n}", fields{Set: map[string]string{"a": "1", "b": "2 3"}}},
		{"durations", "test {\n retry 1m 2h\n}", fields{Retry: []caddy.Duration{caddy.Duration(time.Minute), caddy.Duration(2 * time.Hour)}}},
		{"quoted brace", "test {\n name \"{\"\n}", fields{Name: "{"}},
		{"placeholder", "test {\n name {env.X}\n}", fields{Name: "{env.X}"}},
		{"sub-block", "test {\n inner {\n  depth 0\n  bare\n }\n flag\n}", fields{Inner: inner{Bare: true}, Flag: true}},
		{"other", "test {\n @x from a\n @y {\n  to b\n }\n flag\n}", fields{
			Others: []string{"@x", "from", "a", "@y", "{", "to", "b", "}"}, Flag: true,
		}},
		{"guest", "test {\n guest polite {\n  level 3\n }\n flag\n}", fields{Guest: json.RawMessage(`{"guest":"polite","level":3}`), Flag: true}},
		{"guest without a block", "test {\n guest polite\n flag\n}", fields{Guest: json.RawMessage(`{"guest":"polite"}`), Flag: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got fields
			d := caddyfile.NewTestDispenser(tt.in)
			if err := got.block().Read(d); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if d.Next() {
				t.Errorf("%q was not read", d.Val())
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"unknown, near", "test {\n evry 5m\n}", `unrecognized test option "evry"; did you mean "every"?, at Testfile:2`},
		{"unknown, far", "test {\n flag\n colour red\n}", `unrecognized test option "colour", at Testfile:3`},
		{"unknown in a sub-block", "test {\n inner {\n  deepth 1\n }\n}", `unrecognized inner option "deepth"; did you mean "depth"?, at Testfile:3`},
		{"duplicate", "test {\n every 5m\n every 6m\n}", `duplicate test option "every": it has a value already, at Testfile:3`},
		{"duplicate flag", "test {\n flag\n flag\n}", `duplicate test option "flag": it has a value already, at Testfile:3`},
		{"duplicate sub-block", "test {\n inner {\n }\n inner {\n }\n}", `duplicate test option "inner": it has a value already, at Testfile:4`},
		{"duplicate list of one line", "test {\n path a\n path b\n}", `duplicate test option "path": it has a value already, at Testfile:3`},
		{"duplicate key", "test {\n set a 1\n set a 2\n}", `option set: "a" has a value already, at Testfile:3`},
		{"no argument", "test {\n every\n}", `wrong argument count or unexpected line ending after 'every', at Testfile:2`},
		{"no element", "test {\n hosts\n}", `wrong argument count or unexpected line ending after 'hosts', at Testfile:2`},
		{"half a pair", "test {\n set a\n}", `wrong argument count or unexpected line ending after 'a', at Testfile:2`},
		{"few words", "test {\n words a\n}", `wrong argument count or unexpected line ending after 'a', at Testfile:2`},
		{"surplus argument", "test {\n every 5m 6m\n}", `wrong argument count or unexpected line ending after '6m', at Testfile:2`},
		{"argument of a flag", "test {\n flag on\n}", `wrong argument count or unexpected line ending after 'on', at Testfile:2`},
		{"argument of a sub-block", "test {\n inner x {\n }\n}", `wrong argument count or unexpected line ending after 'x', at Testfile:2`},
		{"block of a scalar", "test {\n every 5m {\n  x\n }\n}", `test option "every" takes no block, at Testfile:2`},
		{"block of a flag", "test {\n flag {\n }\n}", `test option "flag" takes no block, at Testfile:2`},
		{"brace alone", "test {\n flag\n {\n }\n}", `test option "flag" takes no block, at Testfile:2`},
		{"empty", "test {\n name \"\"\n}", `option name: the value is empty, at Testfile:2`},
		{"empty element", "test {\n hosts a \"\"\n}", `option hosts: a value is empty, at Testfile:2`},
		{"no duration", "test {\n every soon\n}", `option every: "soon" is not a duration such as 90s, 5m or 7d, at Testfile:2`},
		{"no unit", "test {\n retry 1m 5\n}", `option retry: "5" is not a duration such as 90s, 5m or 7d, at Testfile:2`},
		{"zero duration", "test {\n every 0s\n}", `option every: "0s" is not a positive duration of at most 106751 days, at Testfile:2`},
		{"negative duration", "test {\n every -5m\n}", `option every: "-5m" is not a positive duration of at most 106751 days, at Testfile:2`},
		{"no number", "test {\n count many\n}", `option count: "many" is not a whole number, at Testfile:2`},
		{"small number", "test {\n count 0\n}", `option count: 0 is not between 1 and 100, at Testfile:2`},
		{"large number", "test {\n count 101\n}", `option count: 101 is not between 1 and 100, at Testfile:2`},
		{"no size", "test {\n size big\n}", `option size: "big" is not a size such as 35MiB, at Testfile:2`},
		{"no bytes", "test {\n size 0\n}", `option size: "0" is not between one byte and 8EiB, at Testfile:2`},
		{"large size", "test {\n size 15EiB\n}", `option size: "15EiB" is not between one byte and 8EiB, at Testfile:2`},
		{"no value of an enum, near", "test {\n mode fats\n}", `option mode: "fats" is none of ["slow" "fast"]; did you mean "fast"?, at Testfile:2`},
		{"no value of an enum, far", "test {\n mode x\n}", `option mode: "x" is none of ["slow" "fast"], at Testfile:2`},
		{"neither yes nor no", "test {\n sure on\n}", `option sure: "on" is neither yes nor no, at Testfile:2`},
		{"unknown guest", "test {\n guest polit\n}", `unrecognized guest "polit"; did you mean "polite"?, at Testfile:2`},
		{"no guest", "test {\n guest\n}", `wrong argument count or unexpected line ending after 'guest', at Testfile:2`},
		{"option of a guest", "test {\n guest polite {\n  levl 1\n }\n}", `unrecognized polite option "levl"; did you mean "level"?, at Testfile:3`},
		{"not closed", "test {\n flag\n", `the test block is not closed, at Testfile:2`},
		{"sub-block not closed", "test {\n inner {\n  bare\n", `the inner block is not closed, at Testfile:3`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := new(fields).block().Read(caddyfile.NewTestDispenser(tt.in))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestReadNoArguments holds the plain directive to taking none.
func TestReadNoArguments(t *testing.T) {
	t.Parallel()
	err := Read(caddyfile.NewTestDispenser("guard 5 {\n}"), Options{})
	if want := "wrong argument count or unexpected line ending after '5', at Testfile:1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestReadRest reads a block whose name the caller has consumed already.
func TestReadRest(t *testing.T) {
	t.Parallel()
	d := caddyfile.NewTestDispenser("mail {\n domain a.example {\n  every 5m\n }\n domain b.example\n}")
	got := make(map[string]caddy.Duration)
	err := Read(d, Options{"domain": Func(func(d *caddyfile.Dispenser) error {
		var name string
		if !d.Args(&name) {
			return d.ArgErr()
		}
		var every caddy.Duration
		err := Block{Kind: "domain", Options: Options{"every": Duration(&every)}}.ReadRest(d)
		got[name] = every
		return err
	}).Many()})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]caddy.Duration{"a.example": caddy.Duration(5 * time.Minute), "b.example": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("domains (-want +got):\n%s", diff)
	}
}

// TestReadPieces reads a block that stands in two pieces.
func TestReadPieces(t *testing.T) {
	t.Parallel()
	var name string
	var hosts []string
	b := Block{Options: Options{"name": String(&name), "hosts": Strings(&hosts)}, Seen: make(Seen)}
	if err := b.Read(caddyfile.NewTestDispenser("mail {\n name x\n hosts a\n}")); err != nil {
		t.Fatal(err)
	}
	if err := b.Read(caddyfile.NewTestDispenser("mail {\n hosts b\n}")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, hosts); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	err := b.Read(caddyfile.NewTestDispenser("mail {\n name y\n}"))
	if want := `duplicate mail option "name": it has a value already, at Testfile:2`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestReadKeepsCause holds that the cause of a reader's error can be found.
func TestReadKeepsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := Read(caddyfile.NewTestDispenser("x {\n a b\n}"), Options{
		"a": one(func(string) error { return cause }),
	})
	if !errors.Is(err, cause) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"window", "threshold", "to", "rcpt", "from", "max_size", "loop_guard", "null_sender"}
	tests := []struct{ name, want string }{
		{"window", "window"},
		{"wndow", "window"},
		{"windwo", "window"},
		{"widnow", "window"},
		{"treshhold", "threshold"},
		{"max-size", "max_size"},
		{"Max_Size", "max_size"},
		{"form", "from"},
		{"rcp", "rcpt"},
		{"cc", ""},
		{"", ""},
		{"unrelated", ""},
		{strings.Repeat("window", 20), ""},
	}
	for _, tt := range tests {
		if got := Suggest(tt.name, known); got != tt.want {
			t.Errorf("Suggest(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := Suggest("bar", []string{"baz", "bat"}); got != "bat" {
		t.Errorf("of two equally near names %q wins, want the first by alphabet", got)
	}
}

// FuzzRead reads arbitrary Caddyfile text: whatever stands there is either
// refused with its line or gives values within their bounds.
func FuzzRead(f *testing.F) {
	f.Add("test :25 {\n name x\n hosts a b\n every 1d\n retry 1m 2h\n count 7\n size 35MiB\n mode fast\n flag\n}")
	f.Add("test {\n inner {\n  depth 1\n }\n @m {\n  from a\n }\n guest polite {\n  level 2\n }\n}")
	f.Add("test {\n{\n}\n every 99999999999999999d\n} {\n")
	f.Add("test {\n every 5m }\n} x\n")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Testfile")
		if err != nil {
			t.Skip()
		}
		var got fields
		d := caddyfile.NewDispenser(tokens)
		if err := got.block().Read(d); err != nil {
			if !strings.Contains(err.Error(), ", at ") {
				t.Errorf("%v names no line", err)
			}
			return
		}
		if got.Every < 0 || got.Count < 0 || got.Count > 100 || got.Size < 0 || got.Inner.Depth > 5 {
			t.Errorf("out of bounds: %+v", got)
		}
		for _, retry := range got.Retry {
			if retry <= 0 {
				t.Errorf("not a positive duration: %d", retry)
			}
		}
		if got.Mode != "" && got.Mode != "slow" && got.Mode != "fast" {
			t.Errorf("no such mode: %q", got.Mode)
		}
	})
}
