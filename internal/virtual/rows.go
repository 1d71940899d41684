package virtual

import (
	"database/sql/driver"
	"io"
	"reflect"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// turnRows are the rows of a query that has the writer's turn, such as INSERT ... RETURNING: their end is the end of the
// turn. All other rows are the driver's own. Each method answers as database/sql takes its absence where the driver lacks it.
type turnRows struct {
	driver.Rows
	text   *sqltext.Text
	of     rowsHolder
	closed bool
	seen   func() error // to be called when the first row was read; nil afterwards
	failed func(error)  // to be called with an error of theirs; nil if none counts it
}

// A rowsHolder learns of the end of its query's rows, and of their errors.
type rowsHolder interface {
	rowsFailed()
	rowsClosed(*sqltext.Text, error) error
}

var (
	_ driver.RowsNextResultSet              = (*turnRows)(nil)
	_ driver.RowsColumnTypeScanType         = (*turnRows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*turnRows)(nil)
	_ driver.RowsColumnTypeLength           = (*turnRows)(nil)
	_ driver.RowsColumnTypeNullable         = (*turnRows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*turnRows)(nil)
)

func (r *turnRows) Close() error {
	err := r.Rows.Close()
	if !r.closed {
		r.closed = true
		err = r.of.rowsClosed(r.text, err)
	}
	r.count(err)
	return err
}

// Next reads the next row.
func (r *turnRows) Next(dest []driver.Value) error {
	err := r.next(dest)
	r.count(err)
	return err
}

// count has the first error be counted.
func (r *turnRows) count(err error) {
	if err != nil && err != io.EOF && r.failed != nil {
		r.failed(err)
		r.failed = nil
	}
}

// next ends the statement when its rows are at their end, because database/sql tells no caller of an error of the closing then.
func (r *turnRows) next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if seen := r.seen; seen != nil {
		r.seen = nil
		if failed := seen(); failed != nil {
			return failed
		}
	}
	switch {
	case err == io.EOF && !r.closed && !r.HasNextResultSet():
		if failed := r.Close(); failed != nil {
			return failed
		}
	case err != nil && err != io.EOF:
		r.of.rowsFailed()
	}
	return err
}

func (r *turnRows) HasNextResultSet() bool {
	n, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && n.HasNextResultSet()
}

func (r *turnRows) NextResultSet() error {
	if n, ok := r.Rows.(driver.RowsNextResultSet); ok {
		return n.NextResultSet()
	}
	return io.EOF
}

func (r *turnRows) ColumnTypeScanType(i int) reflect.Type {
	if c, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return c.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *turnRows) ColumnTypeDatabaseTypeName(i int) string {
	if c, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return c.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *turnRows) ColumnTypeLength(i int) (int64, bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return c.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *turnRows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return c.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *turnRows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return c.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}

// doneRows are the rows of a statement without columns, after its end.
type doneRows struct {
	left int   // rows, of no columns
	err  error // behind them
}

// finish executes a statement without columns to its end, and ends its use. Most have ended already; PRAGMA
// incremental_vacuum goes one page a row.
func finish(rows driver.Rows) driver.Rows {
	var d doneRows
	for d.err = rows.Next(nil); d.err == nil; d.err = rows.Next(nil) {
		d.left++
	}
	if err := rows.Close(); err != nil && d.err == io.EOF {
		d.err = err
	}
	return &d
}

func (d *doneRows) Columns() []string { return nil }
func (d *doneRows) Close() error      { return nil }

func (d *doneRows) Next([]driver.Value) error {
	if d.left == 0 {
		return d.err
	}
	d.left--
	return nil
}
