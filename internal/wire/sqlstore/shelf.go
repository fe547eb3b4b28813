// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
)

// maxShelf is how many empty files are made at once: with as many a flush of
// their directory costs each message next to nothing.
const maxShelf = 64

// shelf hands out empty spool files whose names are durable already, so that a
// message in a file costs one flush, of the file itself. It makes one file
// first and twice as many each time it runs out, since who stores a large
// message now and then needs no stock. What a crash leaves of them is swept
// like any file without a row.
type shelf struct {
	dirs *spoolDirs

	mu    sync.Mutex
	names []string
	next  int // how many to make when there are none left
}

// take returns an empty file, open for writing and reading, and its name.
func (s *shelf) take() (*os.File, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == 0 {
		s.next = min(max(2*s.next, 1), maxShelf)
		if err := s.fill(s.next); err != nil {
			return nil, "", err
		}
	}
	name := s.names[len(s.names)-1]
	s.names = s.names[:len(s.names)-1]
	f, err := os.OpenFile(s.dirs.path(name), os.O_RDWR, 0) //nolint:gosec // the name is random hex of ours
	return f, name, err
}

// fill makes n files in one directory.
func (s *shelf) fill(n int) error {
	names := make([]string, n)
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	first := id[0]
	for i := range names {
		_, _ = rand.Read(id[:])
		id[0] = first // names that begin alike share a directory
		names[i] = hex.EncodeToString(id[:])
	}
	if err := s.dirs.ensure(names[0]); err != nil {
		return err
	}
	for _, name := range names {
		//nolint:gosec // the name is random hex of ours
		f, err := os.OpenFile(s.dirs.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			s.clear()
			return err
		}
		s.names = append(s.names, name)
	}
	if err := syncDir(filepath.Dir(s.dirs.path(names[0]))); err != nil {
		s.clear()
		return err
	}
	return nil
}

// clear removes the files that were not taken; one that remains is swept when
// the store opens the next time. s.mu is held.
func (s *shelf) clear() {
	for _, name := range s.names {
		_ = os.Remove(s.dirs.path(name)) //nolint:gosec // the name is random hex of ours
	}
	s.names = nil
}

// close removes the files that were not taken.
func (s *shelf) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}
