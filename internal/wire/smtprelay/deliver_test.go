// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// content is a message for tests.
type content struct {
	text       string
	eightBit   bool
	utf8Header bool
	opened     []mailflow.Encoding
	err        error // after the text
}

func (c *content) Size() int64      { return int64(len(c.text)) }
func (c *content) EightBit() bool   { return c.eightBit }
func (c *content) UTF8Header() bool { return c.utf8Header }

func (c *content) Open(_ context.Context, enc mailflow.Encoding) (io.ReadCloser, error) {
	c.opened = append(c.opened, enc)
	var r io.Reader = strings.NewReader(c.text)
	if c.err != nil {
		r = io.MultiReader(r, failing{c.err})
	}
	return io.NopCloser(r), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

const text = "From: a@a.example\r\nSubject: test\r\n\r\n.dot\r\nend\r\n"

// attempt is a delivery of text to some recipients.
func attempt(rcpts ...string) *mailflow.Attempt {
	a := &mailflow.Attempt{
		Delivery: &mailflow.Delivery{Envelope: mailflow.Envelope{From: mailflow.MustParseAddress("a@a.example")}},
		Content:  &content{text: text},
	}
	for _, r := range rcpts {
		a.Delivery.Envelope.Recipients = append(a.Delivery.Envelope.Recipients,
			mailflow.Recipient{Address: mailflow.MustParseAddress(r)})
	}
	return a
}

// config leads to the relay at address.
func config(tb testing.TB, address string) Config {
	tb.Helper()
	cfg := Config{Hello: "gate.example", TLS: TLSOff, Now: time.Now}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		cfg.Path = address
		return cfg
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Host, cfg.Port = host, uint16(n)
	return cfg
}

// start starts r and opens a connection to it.
func start(tb testing.TB, r *mailflowtest.Relay, change func(*Config)) *Conn {
	tb.Helper()
	cfg := config(tb, r.Start(tb))
	if r.LMTP {
		cfg.Protocol = LMTP
	}
	if change != nil {
		change(&cfg)
	}
	c, err := Dial(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// outcomes is a line for each result, or the error.
func outcomes(results []mailflow.Result, err error) []string {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	var lines []string
	for _, r := range results {
		lines = append(lines, fmt.Sprintf("%s %s %s", r.Recipient.Address, r.State, r.Reply.String()))
	}
	return lines
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	for _, offers := range [][]string{mailflowtest.RelayOffers, {"8BITMIME"}, {}} {
		t.Run(fmt.Sprint(offers), func(t *testing.T) {
			t.Parallel()
			relay := &mailflowtest.Relay{Offers: offers}
			c := start(t, relay, nil)
			for n := 1; n <= 3; n++ {
				results, err := c.Deliver(t.Context(), attempt("b@b.example", "c@c.example"))
				want := []string{"b@b.example sent 250 2.0.0 taken", "c@c.example sent 250 2.0.0 taken"}
				if diff := cmp.Diff(want, outcomes(results, err)); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
			}
			messages := relay.Messages()
			if len(messages) != 3 || relay.Connections() != 1 {
				t.Fatalf("%d messages on %d connections, want 3 on 1", len(messages), relay.Connections())
			}
			m := messages[2]
			if string(m.Content) != text {
				t.Errorf("content %q", m.Content)
			}
			if diff := cmp.Diff([]string{"<b@b.example>", "<c@c.example>"}, m.Rcpt); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			if want := len(offers) > 1; m.Pipelined != want {
				t.Errorf("pipelined %v, want %v", m.Pipelined, want)
			}
		})
	}
}

// TestDeliverBig sends content of many blocks byte for byte.
func TestDeliverBig(t *testing.T) {
	t.Parallel()
	relay := new(mailflowtest.Relay)
	c := start(t, relay, nil)
	a := attempt("b@b.example")
	var b bytes.Buffer
	for i := 0; b.Len() < 5*blockSize; i++ {
		b.WriteString(strings.Repeat(".", i%3) + strings.Repeat("x", i%97) + "\r\n")
	}
	a.Content = &content{text: b.String()}
	if _, err := c.Deliver(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := relay.Messages()[0].Content; !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%d bytes arrived, %d sent, or others", len(got), b.Len())
	}
}

// TestResolve tries the addresses in order until one answers.
func TestResolve(t *testing.T) {
	t.Parallel()
	relay := new(mailflowtest.Relay)
	c := start(t, relay, func(cfg *Config) {
		cfg.Host = "mx.example"
		cfg.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "mx.example" {
				return nil, mailflow.ErrNotFound
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	if got := c.Extensions().Name; got != "relay.example" {
		t.Errorf("server calls itself %q", got)
	}
}

// elsewhere is a connection that seems to lead to another address.
type elsewhere struct {
	net.Conn
	addr net.Addr
}

func (e elsewhere) RemoteAddr() net.Addr { return e.addr }

// dialAs dials, and says that the peer is at address.
func dialAs(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, behind string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, behind)
		if err != nil {
			return nil, err
		}
		return elsewhere{nc, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}, nil
	}
}
