// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// sealer is a signer that writes down a checksum of what it read.
type sealer struct {
	err   error
	calls atomic.Int32
}

func (s *sealer) Sign(_ context.Context, message io.Reader) ([]byte, error) {
	s.calls.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	h := crc32.NewIEEE()
	if _, err := io.Copy(h, message); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "Seal: %08x\r\n", h.Sum32()), nil
}

// sealed reports whether b begins with the seal of what follows.
func sealed(b string) bool {
	first, rest, _ := strings.Cut(b, "\r\n")
	return first == fmt.Sprintf("Seal: %08x", crc32.ChecksumIEEE([]byte(rest)))
}

// signAs claims for "relay" mail that is signed for that domain.
func signAs(domain string) handle {
	return func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
		tx.Sending.SignAs = domain
		tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderSet, Name: "X-Changed", Value: "yes"})
		tx.ClaimAll(mailflow.Deliver{Server: "relay"})
		return next(ctx, tx)
	}
}

// signing edits a configuration to sign by s.
func signing(s mailflow.Signer) func(*Config) {
	return func(c *Config) {
		c.Outbound = mailflow.Route{{Name: "sign", Handler: signAs("mycompany.com")}}
		c.Signers = map[string]mailflow.Signer{"mycompany.com": s}
	}
}

// TestSigned has each attempt be signed anew, over what is sent.
func TestSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sealer{}
		b := newBench(t, signing(s))
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			return all(d, map[bool]int{true: 451, false: 250}[n == 1]), nil
		}
		b.accept("bob@example.net")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		got := b.relay.taken()
		if len(got) != 2 || s.calls.Load() != 2 {
			t.Fatalf("%d attempts, signed %d times", len(got), s.calls.Load())
		}
		for _, m := range got {
			if !sealed(m.bytes) || !strings.Contains(m.bytes, "Received: ") || !strings.Contains(m.bytes, "X-Changed: yes") {
				t.Errorf("sent:\n%s", m.bytes)
			}
		}
		b.close()
	})
}

// TestUnsignable has mail that cannot be signed be held, not sent.
func TestUnsignable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, signing(&sealer{err: errors.New("the key is gone")}))
		b.accept("bob@example.net")
		synctest.Wait()
		q, err := b.store.Deliveries(t.Context(), mailflow.QueueQuery{States: []mailflow.State{mailflow.StateHeld}})
		if err != nil || len(q) != 1 || q[0].Reason != "signing for mycompany.com: the key is gone" {
			t.Errorf("held: %+v, %v", q, err)
		}
		if n := len(b.relay.taken()); n > 0 {
			t.Errorf("%d were sent", n)
		}
		b.close()
	})
}

// TestNoSigner has mail of a domain that is signed for no more leave without,
// and say so once.
func TestNoSigner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		b := newBench(t, func(c *Config) {
			signing(nil)(c)
			c.Signers = nil
			c.Logger = zap.New(core)
		})
		for range 3 {
			b.accept("bob@example.net")
		}
		synctest.Wait()
		if n := len(b.relay.taken()); n != 3 {
			t.Errorf("%d were sent, want 3", n)
		}
		if n := logs.FilterMessageSnippet("sending unsigned").Len(); n != 1 {
			t.Errorf("said %d times, want once", n)
		}
		b.close()
	})
}

// content is a mailflow.Content with a text for each encoding.
type content struct {
	asIs, seven string
	opened      map[mailflow.Encoding]int
	fails       bool // at its end
}

func (c *content) Size() int64      { return int64(len(c.asIs)) }
func (c *content) EightBit() bool   { return c.asIs != c.seven }
func (c *content) UTF8Header() bool { return false }

func (c *content) Open(_ context.Context, enc mailflow.Encoding) (io.ReadCloser, error) {
	c.opened[enc]++
	text := c.asIs
	if enc == mailflow.Encoding7Bit {
		text = c.seven
	}
	if c.fails {
		return io.NopCloser(io.MultiReader(strings.NewReader(text), badReader{errBroken})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type badReader struct{ err error }

func (b badReader) Read([]byte) (int, error) { return 0, b.err }

// TestSignedContent holds that each encoding is signed once, over its bytes.
func TestSignedContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*content{
		"8 bit": {asIs: "Subject: x\r\n\r\n\xc3\xbc\r\n", seven: "Subject: x\r\n\r\n=C3=BC\r\n"},
		"7 bit": {asIs: "Subject: x\r\n\r\nu\r\n", seven: "Subject: x\r\n\r\nu\r\n"},
	} {
		c.opened = make(map[mailflow.Encoding]int)
		s := &sealer{}
		g := &Generation{config: &Config{Signers: map[string]mailflow.Signer{"d": s}}}
		made, err := (&runner{}).sign(t.Context(), g, &mailflow.Delivery{SignAs: "d"}, c)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, enc := range []mailflow.Encoding{mailflow.EncodingAsIs, mailflow.Encoding7Bit} {
				rc, err := made.Open(t.Context(), enc)
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				_, err = b.ReadFrom(rc)
				if err = errors.Join(err, rc.Close()); err != nil || !sealed(b.String()) {
					t.Errorf("%s: %v\n%s", name, err, b.String())
				}
				if enc == mailflow.EncodingAsIs && int64(b.Len()) != made.Size() {
					t.Errorf("%s: Size is %d, and %d bytes are sent", name, made.Size(), b.Len())
				}
			}
		}
		if want := map[bool]int32{true: 2, false: 1}[c.EightBit()]; s.calls.Load() != want {
			t.Errorf("%s: signed %d times, want %d", name, s.calls.Load(), want)
		}
	}
}

// TestSignReadError holds that a message that cannot be read is no fault of the
// signer.
func TestSignReadError(t *testing.T) {
	t.Parallel()
	c := &content{asIs: "x", seven: "x", opened: make(map[mailflow.Encoding]int), fails: true}
	g := &Generation{config: &Config{Signers: map[string]mailflow.Signer{"d": &sealer{}}}}
	_, err := (&runner{}).sign(t.Context(), g, &mailflow.Delivery{SignAs: "d"}, c)
	if !errors.Is(err, errBroken) || unsendable(err) != "" {
		t.Errorf("%v", err)
	}
}

// TestSignLate holds that a message that cannot be signed in the other
// encoding is held, whatever the transport makes of that error.
func TestSignLate(t *testing.T) {
	t.Parallel()
	c := &content{asIs: "\xc3\xbc", seven: "=C3=BC", opened: make(map[mailflow.Encoding]int)}
	s := &sealer{}
	g := &Generation{config: &Config{Signers: map[string]mailflow.Signer{"d": s}}}
	made, err := (&runner{}).sign(t.Context(), g, &mailflow.Delivery{SignAs: "d"}, c)
	if err != nil {
		t.Fatal(err)
	}
	s.err = errBroken
	if _, err := made.Open(t.Context(), mailflow.Encoding7Bit); unsendable(err) == "" {
		t.Errorf("opened with %v", err)
	}
	if err := made.(*signedContent).explain(errors.New("the transport failed")); unsendable(err) == "" {
		t.Errorf("explained as %v", err)
	}
}

// TestRelayedID has the Message-Id that the next hop gave be kept.
func TestRelayedID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			rs := all(d, 250)
			rs[0].MessageID = "<new@relay.example>"
			return rs, nil
		}
		b.accept("a@example.net", "b@example.net")
		synctest.Wait()
		q, err := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
		if err != nil || len(q) != 2 {
			t.Fatal(q, err)
		}
		for _, d := range q {
			want := ""
			if d.Envelope.Recipients[0].Address.Local == "a" {
				want = "<new@relay.example>"
			}
			if d.RelayedID != want {
				t.Errorf("%s: %q, want %q", d.Envelope.Recipients[0].Address, d.RelayedID, want)
			}
		}
		b.close()
	})
}
