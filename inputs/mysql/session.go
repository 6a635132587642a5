package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

// conn is what we ask of the driver's connection. database/sql isn't between: a collection needs one connection and its rows as bytes, not a
// pool, and not a goroutine and a conversion for each.
type conn interface {
	driver.Conn
	driver.Pinger
	driver.QueryerContext
	driver.ExecerContext
}

// session is a connection that is kept from one collection to the next.
type session struct {
	conn    conn
	version version
	user    string   // USER(): as whom the server sees us, exporter@172.18.0.1
	account string   // CURRENT_USER(): which of its accounts that is, exporter@%
	granted *granted // nil when that isn't known, or no collector depends on it
	opened  time.Time
	broken  bool // a statement was given up in the middle: the connection is of no use any more

	row []driver.Value // of the result being read; reused
}

// query sends a statement. The arguments take the places of its question marks. The caller closes the result before the next query.
func (s *session) query(ctx context.Context, statement string, args ...string) (*result, error) {
	var named []driver.NamedValue
	for i, a := range args {
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	rows, err := s.conn.QueryContext(ctx, statement, named)
	if err != nil {
		s.judge(err)
		return nil, err
	}
	return &result{session: s, rows: rows}, nil
}

// exec sends a statement that has no result.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement, nil)
	s.judge(err)
	return err
}

// judge keeps the connection after what the server refused, and gives it up after anything else.
func (s *session) judge(err error) {
	if err != nil && serverError(err) == nil {
		s.broken = true
	}
}

// scalar asks for one value. ok is false when the server has no row for it.
func (s *session) scalar(ctx context.Context, statement string) (value string, ok bool, err error) {
	r, err := s.query(ctx, statement)
	if err != nil {
		return "", false, err
	}
	defer r.close()
	for {
		row, err := r.next()
		switch {
		case err != nil:
			return "", false, err
		case row == nil:
			return value, ok, nil
		case !ok:
			value, ok = string(text(nil, row[0])), true
		}
	}
}

// close says goodbye, so that the server doesn't count an aborted connection.
func (s *session) close() {
	_ = s.conn.Close() // there is nothing to do about a goodbye that isn't heard
}

// result is the rows of a statement.
type result struct {
	session *session
	rows    driver.Rows
	ended   bool
}

// columns are the names of the columns.
func (r *result) columns() []string { return r.rows.Columns() }

// next returns the next row, which is valid until the next call, or nil after the last one.
func (r *result) next() ([]driver.Value, error) {
	if r.ended {
		return nil, nil
	}
	n := len(r.rows.Columns())
	if cap(r.session.row) < n {
		r.session.row = make([]driver.Value, n)
	}
	row := r.session.row[:n]
	switch err := r.rows.Next(row); {
	case err == nil:
		return row, nil
	case errors.Is(err, io.EOF):
		r.ended = true
		return nil, nil
	default:
		r.ended = true
		r.session.judge(err)
		return nil, err
	}
}

// close ends the result. The driver would read what is left of it without a deadline, so a result that was not read to its end takes the
// connection with it.
func (r *result) close() {
	if !r.ended {
		r.session.broken = true
		r.session.close()
	}
	_ = r.rows.Close() // lets go of the context; there is nothing left to read
}

// columnError is a result that isn't as it should be.
type columnError struct {
	statement string
	what      string
}

func (e *columnError) Error() string { return fmt.Sprintf("the answer to %q %s", e.statement, e.what) }
