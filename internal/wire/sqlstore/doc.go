// SPDX-License-Identifier: Apache-2.0

// Package sqlstore keeps the ledger and the queue in one SQLite database, and
// large bodies in files beside it. It is the store of a single gateway.
//
// # On disk
//
//	DIR/mail.db      the database, with its -wal and -shm
//	DIR/spool/xx/ID  the bytes of one message longer than 32 KiB
//	DIR/lock         locked while a process has the store open
//
// The database runs in WAL mode with synchronous=FULL: weaker settings lost
// acknowledged mail when the power was cut. A body file and its directory are
// synced before the row that names the file is written, so that a row never
// lacks its bytes; a file that no row names is deleted when the store opens.
// Empty files are made some at a time, so that the directory is synced once for
// many of them.
//
// # The writer
//
// One goroutine writes. It takes whatever operations wait, commits them
// together, and only then answers: many commits share one flush of the disk,
// and nobody waits for a timer. If one is refused, such as for a stale fact,
// all are run once more, each in a savepoint, and that one is rolled back alone.
//
// When the disk is full or fails, everything that waits is answered with
// [mailflow.ErrNoRoom], and so is what comes after, until a probe has written
// to the database again. The writer probes by itself, on a new connection.
//
// # Claims
//
// A process that has the directory is alone there, so claims are kept in its
// memory, together with the number of rows of each kind. The claims mutex
// orders the two things that could send a mail twice: a claim holds it from
// before the rows are read until they are marked, and a finished delivery
// keeps its mark until after the commit.
//
// # Threads
//
// Threads, posts and people are rows like others, written by the commit of the
// mail that they come from. Posts are found by what an answer quotes through
// the hash of each name, so that a row of the index is small and a million of
// them are found as quickly as a thousand. What is searched is written with the
// digest of a post, behind the commit: until then the name of a new thread and
// the text of a new post are not found by their words.
package sqlstore
