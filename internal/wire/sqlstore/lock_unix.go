// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sqlstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks f for this process, or returns errLocked.
func tryLock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// unlock takes back what tryLock did, for all that have f open.
func unlock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// syncDir makes the names in a directory durable.
func syncDir(name string) error {
	d, err := os.Open(name) //nolint:gosec // a directory of the store
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
