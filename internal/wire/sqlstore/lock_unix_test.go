// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sqlstore

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestCloseUnlocks closes a store whose lock a starting process has open too.
func TestCloseUnlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	fd, err := unix.Dup(int(s.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: dir})
}
