// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"sync"

	"modernc.org/sqlite"
)

// dsn names the database file to the driver, with the pragmas that every
// connection gets.
func dsn(file string, pragmas ...string) string {
	// The driver sets the timeout first, so that the other pragmas wait, too.
	q := url.Values{"_busy_timeout": {"5000"}, "_dqs": {"0"}, "_pragma": pragmas}
	return (&url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}).String()
}

// writerPragmas are the settings of the writer's connection. FULL makes a
// commit durable before it returns. The size limit cuts a WAL that a burst
// has left behind. The cache keeps its small default: rows are written at the
// right edge of their trees, and SQLite walks the whole cache at each commit
// (with 16 MiB that was a sixth of the CPU of a gateway under load).
var writerPragmas = []string{
	"auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)", "journal_size_limit(67108864)",
}

// readerPragmas are the settings of the others.
var readerPragmas = []string{"query_only(1)"}

// session is one connection with its prepared statements. It is used by one
// goroutine at a time.
type session struct {
	// ctx is the context of all statements. It never ends: an interrupted
	// statement would take the whole batch with it.
	ctx   context.Context
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// openSession opens a connection of its own to file.
func openSession(ctx context.Context, file string, pragmas []string) (*session, error) {
	db, err := sql.Open("sqlite", dsn(file, pragmas...))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &session{ctx: context.WithoutCancel(ctx), db: db, conn: conn, stmts: make(map[string]*sql.Stmt)}, nil
}

// close closes the connection.
func (s *session) close() error {
	for _, stmt := range s.stmts {
		_ = stmt.Close()
	}
	return errors.Join(s.conn.Close(), s.db.Close())
}

func (s *session) prepare(query string) (*sql.Stmt, error) {
	stmt := s.stmts[query]
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(s.ctx, query) //nolint:sqlclosecheck // kept with the session
	if err != nil {
		return nil, err
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// exec runs a statement and returns how many rows it changed.
func (s *session) exec(query string, args ...any) (int64, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return 0, err
	}
	res, err := stmt.ExecContext(s.ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query implements querier.
func (s *session) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.WithoutCancel(ctx), args...)
}

// querier runs prepared queries: a session, or the pool of readers.
type querier interface {
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// pool is the readers.
type pool struct {
	db    *sql.DB
	stmts sync.Map // query -> *sql.Stmt
}

func openPool(file string, size int) (*pool, error) {
	db, err := sql.Open("sqlite", dsn(file, readerPragmas...))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return &pool{db: db}, nil
}

// query implements querier.
func (p *pool) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt, ok := p.stmts.Load(query); ok {
		return stmt.(*sql.Stmt).QueryContext(ctx, args...)
	}
	stmt, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := p.stmts.LoadOrStore(query, stmt); loaded {
		_ = stmt.Close()
		stmt = first.(*sql.Stmt)
	}
	return stmt.QueryContext(ctx, args...)
}

// quick is the pool for look-ups that take microseconds. Each is run to its
// end: a context that can end costs a query two goroutines, which is as much as
// the look-up itself.
type quick struct{ *pool }

// query implements querier.
func (q quick) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return q.pool.query(context.WithoutCancel(ctx), query, args...)
}

func (p *pool) close() error { return p.db.Close() }

// one scans the first row of a query into dest. It returns false if there is
// none.
func one(ctx context.Context, q querier, dest []any, query string, args ...any) (bool, error) {
	rows, err := q.query(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		return false, rows.Err()
	}
	return true, rows.Scan(dest...)
}

// each calls scan on every row of a query.
func each(ctx context.Context, q querier, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Primary result codes of SQLite that speak of one statement, not of the
// database, and the constraints that an ID can break
// (https://www.sqlite.org/rescode.html).
const (
	codeError                = 1
	codeTooBig               = 18
	codeConstraint           = 19
	codeMismatch             = 20
	codeConstraintPrimaryKey = codeConstraint | 6<<8
	codeConstraintUnique     = codeConstraint | 8<<8
)

// isDuplicate reports whether err says that a key exists.
func isDuplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == codeConstraintPrimaryKey || e.Code() == codeConstraintUnique)
}

// isTrouble reports whether err says that the database cannot be used, as
// opposed to an operation that is refused.
func isTrouble(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
	}
	switch e.Code() & 0xff {
	case codeError, codeTooBig, codeConstraint, codeMismatch:
		return false
	}
	return true
}
