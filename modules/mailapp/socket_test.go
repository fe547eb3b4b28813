// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

func TestSocketKeys(t *testing.T) {
	t.Setenv("MAIL_TEST_HOST", "127.0.0.1")
	for address, want := range map[string][]string{
		":25":                             {"tcp/:25"},
		"{env.MAIL_TEST_HOST}:25":         {"tcp/127.0.0.1:25"},
		"LocalHost:25":                    {"tcp/127.0.0.1:25"},
		"MX.example.com:25":               {"tcp/mx.example.com:25"},
		"tcp6/[::1]:25":                   {"tcp6/[::1]:25"},
		"127.0.0.1:2525-2527":             {"tcp/127.0.0.1:2525", "tcp/127.0.0.1:2526", "tcp/127.0.0.1:2527"},
		"127.0.0.1:0":                     {"tcp/127.0.0.1:0/in/0"},
		"unix//run/Mail.sock":             {"unix//run/Mail.sock"},
		"unix//run/Mail.sock|0222":        {"unix//run/Mail.sock"},
		"unix/@abstract":                  {"unix/@abstract"},
		"127.0.0.1":                       nil,
		"udp/127.0.0.1:25":                nil,
		"fd/3":                            nil,
		"{env.MAIL_TEST_UNSET}:25":        nil,
		"unix//run/Mail.sock|notoctal":    nil,
		"127.0.0.1:25-24":                 nil,
		"tcp/127.0.0.1:twenty-five-seven": nil,
	} {
		got, err := sockets(address, "in/0")
		var keys []string
		for _, s := range got {
			keys = append(keys, s.Key)
		}
		if !slices.Equal(keys, want) || (err != nil) != (want == nil) {
			t.Errorf("%s: got %q, %v; want %q", address, keys, err, want)
		}
	}
}

func bind(t *testing.T, s engine.Socket) (net.Listener, error) {
	t.Helper()
	ln, err := s.Listen(t.Context())
	if err == nil {
		t.Cleanup(func() { _ = ln.Close() })
	}
	return ln, err
}

func socket(t *testing.T, address string) engine.Socket {
	t.Helper()
	found, err := sockets(address, "in/0")
	if err != nil {
		t.Fatal(err)
	}
	return found[0]
}

// TestPortIsNotShared binds a port twice, as two processes would.
func TestPortIsNotShared(t *testing.T) {
	t.Parallel()
	ln, err := bind(t, socket(t, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = bind(t, socket(t, ln.Addr().String()))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("got %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")

	ln, err := bind(t, socket(t, "unix/"+path+"|0620"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("got %v, %v", info, err)
	}

	// One that is served is not taken away.
	if _, err := bind(t, socket(t, "unix/"+path)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one: got %v", err)
	}

	// One that a dead process has left is.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bind(t, socket(t, "unix/"+path)); err != nil {
		t.Errorf("after a crash: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != defaultSocketMode {
		t.Errorf("got %v, %v", info, err)
	}
}

// TestFileIsNoSocket keeps a file that stands where the socket should be.
func TestFileIsNoSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bind(t, socket(t, "unix/"+path)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Error("the file is gone")
	}
}
