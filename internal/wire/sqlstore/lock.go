// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// errLocked is returned by tryLock when somebody else has the lock.
var errLocked = errors.New("locked")

// lockDir takes the lock of a directory; it is released by unlockDir, and by
// the end of the process.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, err
	}
	err = tryLock(f)
	if err == nil {
		err = writePID(f)
	}
	if err == nil {
		return f, nil
	}
	defer func() { _ = f.Close() }()
	if !errors.Is(err, errLocked) {
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	owner := "another process"
	if pid := readPID(name); pid > 0 {
		owner = fmt.Sprintf("process %d", pid)
	}
	return nil, fmt.Errorf("the store in %s is in use by %s: stop it first, or give this gateway a directory of its own", dir, owner)
}

// unlockDir releases the lock. Closing the file would not be enough: a process
// that is just being started has it open too, until it becomes its own program.
func unlockDir(f *os.File) error { return errors.Join(unlock(f), f.Close()) }

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns who has the lock, or 0 if that cannot be told.
func readPID(name string) int {
	text, err := os.ReadFile(name) //nolint:gosec // the lock of the store
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
