//go:build cgo

package sqlite3

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/mattn/go-sqlite3"
)

// A keptQuery is a kept statement with rows, and what the driver says of its columns.
type keptQuery struct {
	st      *sqlite3.SQLiteStmt
	columns *engine.Columns
	names   []string // the driver's own list, by which columns was made
}

// columnsOf asks the driver for the columns once. The driver makes a new list of names when SQLite has compiled the statement anew.
func (q *keptQuery) columnsOf(names []string, ask func() *engine.Columns) *engine.Columns {
	if q.columns == nil || len(names) == 0 || len(names) != len(q.names) || &names[0] != &q.names[0] {
		q.columns, q.names = ask(), names
	}
	return q.columns
}

// query runs a call that wants rows as the driver's own Query would, to its end. SQLite changes all rows of such a statement in its first
// step, so an error of the statement comes before its rows. After any other error the query counts as unread: the rows that it has
// changed must go. The result of a call with an id has the rows.
func (s *session) query(ctx context.Context, c *engine.Call) (driver.Result, error) {
	s.untouched = false
	if s.within {
		return s.queryWithin(ctx, c)
	}
	if len(c.Args) == 0 || c.Bytes() > keptBytes {
		return s.queryUnkept(ctx, c)
	}
	q, known := s.asked.Get(c.Query)
	if !known {
		st, err := s.prepare(ctx, c.Query)
		if err != nil {
			return nil, err
		}
		q = &keptQuery{st: st}
		s.asked.Put(c.Query, q)
	}
	return s.read(ctx, c, q)
}

// queryUnkept runs a call by a statement that is not kept.
func (s *session) queryUnkept(ctx context.Context, c *engine.Call) (driver.Result, error) {
	st, err := s.prepare(ctx, c.Query)
	if err != nil {
		return nil, err
	}
	s.current = st
	res, err := s.read(ctx, c, &keptQuery{st: st})
	s.current = nil
	st.Close()
	return res, err
}

// read runs a call by its statement, and reads the rows.
func (s *session) read(ctx context.Context, c *engine.Call, q *keptQuery) (driver.Result, error) {
	if q.st.NumInput() != len(c.Args) {
		c.PutOff() // the driver has an error for it
		return nil, nil
	}
	rows, err := q.st.QueryContext(ctx, c.Args)
	if err != nil {
		return nil, err
	}
	columns := q.columnsOf(rows.Columns(), func() *engine.Columns { return engine.ColumnsOf(rows) })
	return s.keep(c, rows, columns), nil
}

// keep reads the rows of a call.
func (s *session) keep(c *engine.Call, rows driver.Rows, columns *engine.Columns) driver.Result {
	if c.ID() == "" {
		s.unread = s.reader.Read(c, rows, columns)
		return nil
	}
	res, err := engine.ReadReturned(c, rows, columns)
	if s.unread = err; err != nil {
		return nil
	}
	return res
}

// queryAlone runs a call with an id by itself, in the open transaction.
func (s *session) queryAlone(c *engine.Call) (driver.Result, error) {
	res, err := s.query(c.Context(), c)
	if !c.IsPutOff() {
		return res, err
	}
	c.Reset()
	s.untouched = true
	rows, end, err := engine.QueryOn(c.Context(), s.lite, c)
	defer end()
	if err != nil {
		return nil, err
	}
	return s.keep(c, rows, nil), nil
}

// queryWithin runs a call by the wrapper's own Query, once: see execWithin.
func (s *session) queryWithin(ctx context.Context, c *engine.Call) (driver.Result, error) {
	s.freshen()
	rows, end, err := engine.QueryOn(ctx, s.conn, c)
	defer end()
	if err != nil {
		return nil, err
	}
	return s.keep(c, rows, nil), nil
}
