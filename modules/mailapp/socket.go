// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

const (
	// defaultSocketMode lets the owner alone connect, which needs the right to
	// write. It is Caddy's default as well.
	defaultSocketMode fs.FileMode = 0o200
	// staleTimeout is how long the owner of a socket file has to answer. A
	// local connection is made at once, even by a busy one.
	staleTimeout = time.Second
)

// unixSocket returns the socket at path, which may end in |MODE, in octal, and
// begins with @ if it is no file.
func unixSocket(path string) engine.Socket {
	path, perm, ok := strings.Cut(path, "|")
	mode := defaultSocketMode
	if bits, err := strconv.ParseUint(perm, 8, 32); ok && err == nil {
		mode = fs.FileMode(bits)
	}
	return engine.Socket{Key: "unix/" + path, Listen: func(ctx context.Context) (net.Listener, error) {
		return listenUnix(ctx, path, mode)
	}}
}

// listenUnix binds the socket at path. A file that a dead process has left
// there is replaced; one that a process still serves never is.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && stale(ctx, path) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing a socket that nobody serves: %w", err)
		}
		ln, err = config.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, busy(err)
	}
	if strings.HasPrefix(path, "@") {
		return ln, nil
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the permissions of a socket: %w", err), ln.Close())
	}
	return ln, nil
}

// stale reports whether path is a socket that no process serves.
func stale(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := (&net.Dialer{Timeout: staleTimeout}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it was opened only to see who answers
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// busy adds the next step to an error of an address that is in use.
func busy(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; another process listens there, or the running configuration does "+
			"on a wider address (then stop and start instead of reloading)", err)
	}
	return err
}
