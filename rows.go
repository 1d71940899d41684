package groupcommit

import (
	"database/sql/driver"
	"io"
	"reflect"
)

// writingRows are the rows of a query that writes (INSERT ... RETURNING): their end is the end of the writer's turn.
// All other rows are the driver's own. Each method answers as database/sql takes its absence where the driver lacks it.
type writingRows struct {
	driver.Rows
	conn   *conn
	text   *text
	closed bool
}

var (
	_ driver.RowsNextResultSet              = (*writingRows)(nil)
	_ driver.RowsColumnTypeScanType         = (*writingRows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*writingRows)(nil)
	_ driver.RowsColumnTypeLength           = (*writingRows)(nil)
	_ driver.RowsColumnTypeNullable         = (*writingRows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*writingRows)(nil)
)

func (r *writingRows) Close() error {
	err := r.Rows.Close()
	if !r.closed {
		r.closed = true
		r.conn.writing = max(0, r.conn.writing-1)
		r.conn.after(r.text)
	}
	return err
}

func (r *writingRows) HasNextResultSet() bool {
	n, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && n.HasNextResultSet()
}

func (r *writingRows) NextResultSet() error {
	if n, ok := r.Rows.(driver.RowsNextResultSet); ok {
		return n.NextResultSet()
	}
	return io.EOF
}

func (r *writingRows) ColumnTypeScanType(i int) reflect.Type {
	if c, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return c.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *writingRows) ColumnTypeDatabaseTypeName(i int) string {
	if c, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return c.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *writingRows) ColumnTypeLength(i int) (int64, bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return c.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *writingRows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return c.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *writingRows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return c.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}
