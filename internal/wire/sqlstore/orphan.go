// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// makeDirs makes the directory of the store and that of the spool.
func makeDirs(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "spool"), 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// spoolDirs are the directories of the spool, by the first two digits of the
// files in them.
type spoolDirs struct {
	spool string
	known sync.Map // those that this process has made sure of
}

// path returns where the file of that name is.
func (d *spoolDirs) path(name string) string { return filepath.Join(d.spool, name[:2], name) }

// ensure makes the directory for the file of that name, durably.
func (d *spoolDirs) ensure(name string) error {
	if _, ok := d.known.Load(name[:2]); ok {
		return nil
	}
	err := os.Mkdir(filepath.Join(d.spool, name[:2]), 0o700) //nolint:gosec // the name is random hex of ours
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(d.spool); err != nil {
		return err
	}
	d.known.Store(name[:2], true)
	return nil
}

// sweepOrphans deletes the spool files that no row names: what a crash has
// left of messages that were never acknowledged. They may be cut or empty.
func (s *Store) sweepOrphans(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(s.dirs.spool, "??", "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		var n int64
		found, err := one(ctx, s.readers, []any{&n}, `SELECT n FROM message WHERE file = ?`, filepath.Base(name))
		if err != nil {
			return fmt.Errorf("looking for the row of %s: %w", name, err)
		}
		if found {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("removing a file that no message has: %w", err)
		}
	}
	return nil
}

// removeFiles removes the files of deleted messages. One that remains is
// swept when the store opens the next time.
func (s *Store) removeFiles(names []string) {
	for _, name := range names {
		_ = os.Remove(s.dirs.path(name))
	}
}
