// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// sink is a backend that takes everything and keeps nothing.
type sink struct{ keeperSession }

func (sink) Open(*Client) Session { return new(sink) }

func (*sink) Mail(context.Context, *mailflow.Envelope, int64) error { return nil }
func (*sink) Rcpt(context.Context, mailflow.Recipient) error        { return nil }
func (*sink) Mechanisms() []string                                  { return nil }
func (*sink) MaxSize() int64                                        { return 1 << 30 }
func (*sink) Reset()                                                {}

func (*sink) Data(_ context.Context, content io.Reader) ([]*mailflow.Reply, error) {
	if _, err := io.Copy(io.Discard, content); err != nil {
		return nil, fmt.Errorf("receiving: %w", err)
	}
	return []*mailflow.Reply{mailflow.ReplyAccepted}, nil
}

// listen runs a sink on loopback.
func listen(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := New(Options{Hostname: "mx.example", Now: time.Now}, new(sink))
	go s.Serve(ctx, ln)
	tb.Cleanup(func() {
		cancel()
		_ = ln.Close()
	})
	return ln.Addr().String()
}

// BenchmarkMail receives mails on one connection; `size` is that of the content.
func BenchmarkMail(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			conn, err := net.Dial("tcp", listen(b))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			r := bufio.NewReader(conn)
			ask := func(text string, replies int) {
				_, _ = io.WriteString(conn, text)
				for replies > 0 {
					line, err := r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if line[3] == ' ' {
						replies--
					}
				}
			}
			ask("EHLO c\r\n", 2)
			text := strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78) + ".\r\n"
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ask("MAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nDATA\r\n", 3)
				ask(text, 1)
			}
		})
	}
}

// TestIdleMemory holds a waiting connection to what it may cost, both ends in
// this process and without the kernel's part.
func TestIdleMemory(t *testing.T) {
	if testing.Short() || strings.Contains(os.Getenv("GOFLAGS"), "race") {
		t.Skip("measures memory")
	}
	const conns, most = 400, 24 << 10
	addr := listen(t)
	used := func() uint64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	var open []net.Conn
	for range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		_, _ = io.WriteString(c, "EHLO c\r\n")
		buf := make([]byte, 512)
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	per := (used() - before) / conns
	t.Logf("%d bytes for each connection", per)
	if per > most {
		t.Errorf("%d bytes for each connection, more than %d", per, most)
	}
	for _, c := range open {
		_ = c.Close()
	}
}
