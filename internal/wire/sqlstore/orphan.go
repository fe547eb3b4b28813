// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// makeDirs makes the directory of the store and those of the spool.
func makeDirs(dir string) error {
	spool := filepath.Join(dir, "spool")
	if _, err := os.Stat(filepath.Join(spool, "ff")); err == nil {
		return nil
	}
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(spool, hex.EncodeToString([]byte{byte(i)})), 0o700); err != nil {
			return err
		}
	}
	if err := syncDir(spool); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// sweepOrphans deletes the spool files that no row names: what a crash has
// left of messages that were never acknowledged. They may be cut or empty.
func (s *Store) sweepOrphans(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(s.dir, "spool", "??", "*"))
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
		_ = os.Remove(filePath(s.dir, name))
	}
}
