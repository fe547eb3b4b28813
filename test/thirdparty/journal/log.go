// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// log is the journal file.
type log struct {
	file *os.File
	// size is where the next line begins: what is behind it is none of the
	// journal.
	size int64
	// dirty is set while there may be something behind it, unnamed while the
	// file's name is not on the disk: an older journal may still have it there.
	dirty, unnamed bool
	// rows is the size that the file had when it was written anew.
	rows int64
}

// append writes one line, and returns its changes as they are read back once
// it is on the disk. After an error the line is not in the journal.
func (l *log) append(changes []change) ([]change, error) {
	line, err := json.Marshal(changes)
	if err != nil {
		return nil, fmt.Errorf("writing rows as JSON: %w", err)
	}
	var kept []change
	if err := json.Unmarshal(line, &kept); err != nil {
		return nil, fmt.Errorf("reading rows back: %w", err)
	}
	if err := l.repair(); err != nil {
		return nil, err
	}
	line = append(line, '\n')
	_, err = l.file.WriteAt(line, l.size)
	if err = errors.Join(err, l.file.Sync()); err != nil {
		l.dirty = true
		return nil, errors.Join(err, l.repair())
	}
	l.size += int64(len(line))
	return kept, nil
}

// repair makes good what could not be done earlier: it cuts off what a failed
// append left behind. Nothing is appended before it succeeds.
func (l *log) repair() error {
	if l.unnamed {
		if err := syncDir(filepath.Dir(l.file.Name())); err != nil {
			return fmt.Errorf("flushing the name of the journal: %w", err)
		}
		l.unnamed = false
	}
	if !l.dirty {
		return nil
	}
	if err := errors.Join(l.file.Truncate(l.size), l.file.Sync()); err != nil {
		return fmt.Errorf("cutting off a line that could not be written: %w", err)
	}
	l.dirty = false
	return nil
}

// Close implements io.Closer.
func (l *log) Close() error { return errors.Join(l.repair(), l.file.Close()) }

// replay applies the lines of the journal that r has. The last line may be a
// torn one: the process died while it was written, and nobody was told that it
// is there. A broken line with others behind it is damage, and an error.
func replay(r io.Reader, t *tables) error {
	lines := bufio.NewReader(r)
	var broken error
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if broken != nil {
			return broken
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var changes []change
		if broken = json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), &changes); broken != nil {
			broken = fmt.Errorf("line %d of the journal is damaged; restore it from a backup: %w", number, broken)
			continue
		}
		if err != nil {
			return nil // whole, but for its end: it was not flushed
		}
		for i := range changes {
			t.apply(&changes[i])
		}
	}
}

// writeLog writes the journal anew, with a line for each of changes, in the
// place of the one that is there. If it returns an error the old one is.
func writeLog(dir string, changes iter.Seq[change]) (*log, error) {
	tmp := filepath.Join(dir, "journal.new")
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for c := range changes {
		if err = lines.Encode([]change{c}); err != nil {
			break
		}
	}
	err = errors.Join(err, w.Flush(), f.Sync())
	size, seekErr := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, seekErr); err == nil {
		err = os.Rename(tmp, filepath.Join(dir, "journal"))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &log{file: f, size: size, rows: size, unnamed: true}, nil
}

// syncDir makes the names in a directory durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
