// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// open opens the store in dir for this process alone.
func open(dir string, now func() time.Time) (_ *store, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "messages"), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the journal: %w", err)
	}
	s := &store{dir: dir, now: now, tables: newTables(), claims: make(map[string]bool)}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal in %s: %w", dir, err), unlockDir(s.lock))
	}
	return s, nil
}

// lockDir takes the lock of a directory. It is released by unlockDir, and by
// the end of the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the journal: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("the journal in %s is in use by another process: stop it first, or name another directory", dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlockDir releases the lock, also for a process that is just being started
// and has the file open too.
func unlockDir(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// load reads the journal, writes it anew, and removes what nothing names.
func (s *store) load() error {
	switch f, err := os.Open(filepath.Join(s.dir, "journal")); {
	case errors.Is(err, fs.ErrNotExist): // a new store
	case err != nil:
		return err
	default:
		if err := errors.Join(replay(f, &s.tables), f.Close()); err != nil {
			return err
		}
	}
	if err := s.removeStrays(); err != nil {
		return err
	}
	var err error
	if s.log, err = writeLog(s.dir, s.all); err != nil {
		return err
	}
	if err := s.log.repair(); err != nil {
		return errors.Join(err, s.log.file.Close())
	}
	return nil
}

// removeStrays removes the files of messages that were never committed, or
// that were swept when the process died. A message whose file is missing or
// short is an error.
func (s *store) removeStrays() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "messages"))
	if err != nil {
		return err
	}
	there := make(map[string]fs.DirEntry, len(entries))
	for _, e := range entries {
		there[e.Name()] = e
	}
	for _, m := range s.messages {
		e, ok := there[m.File]
		if !ok {
			return fmt.Errorf("the bytes of message %s are gone: there is no file %s", m.ID, m.File)
		}
		if info, err := e.Info(); err != nil || info.Size() != m.Length {
			return errors.Join(fmt.Errorf("the file %s of message %s is damaged", m.File, m.ID), err)
		}
		delete(there, m.File)
	}
	for name := range there {
		if err := os.Remove(s.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// path returns where the file of a message is.
func (s *store) path(file string) string { return filepath.Join(s.dir, "messages", file) }
