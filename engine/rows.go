package engine

import (
	"bytes"
	"cmp"
	"database/sql/driver"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
)

// Rows are the result of a query that was a member of a group, such as INSERT ... RETURNING. The group has read them to their end and has
// copied them, because the connection goes to other calls before the caller looks. They are bounded: a caller that asks for more gets
// the driver's own rows, from a connection of its own. So a group must be one that can still be undone, or know the bound before.
type Rows struct {
	columns *Columns
	names   []string       // the caller's copy; nil before the first Columns
	values  []driver.Value // row after row
	size    int            // of values, in bytes
	err     error          // behind the rows; nil if they have an end
}

var (
	_ driver.Rows                           = (*Rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*Rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*Rows)(nil)
	_ driver.RowsColumnTypeLength           = (*Rows)(nil)
	_ driver.RowsColumnTypeNullable         = (*Rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Rows)(nil)
)

// The bounds of the rows of one call.
const (
	mostRows     = 256
	mostRowBytes = 64 << 10
)

// Keeps reports whether a group keeps so many rows of so many bytes each, as a [RowReader] counts them: 16 for a value, and its length if
// it is text or binary.
func Keeps(rows, bytes int) bool { return rows <= mostRows && rows*bytes <= mostRowBytes }

// sizeOf is what a row counts, in bytes.
func sizeOf(row []driver.Value) int {
	size := 16 * len(row)
	for _, v := range row {
		switch v := v.(type) {
		case []byte:
			size += len(v)
		case string:
			size += len(v)
		}
	}
	return size
}

// Columns are what a driver says of the columns of its rows. Many Rows may share one Columns.
type Columns struct {
	names []string
	types []columnType
}

// columnType is what database/sql asks of a column. Its zero value is what database/sql takes for an answer where the driver has
// none; scan is nil then.
type columnType struct {
	scan                  reflect.Type
	database              string
	length                int64
	hasLength             bool
	nullable, hasNullable bool
	precision, scale      int64
	decimal               bool
}

// ColumnsOf asks a driver's rows for their columns.
func ColumnsOf(rows driver.Rows) *Columns {
	names := rows.Columns()
	c := &Columns{names: names, types: make([]columnType, len(names))}
	for i := range c.types {
		t := &c.types[i]
		if r, ok := rows.(driver.RowsColumnTypeScanType); ok {
			t.scan = r.ColumnTypeScanType(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
			t.database = r.ColumnTypeDatabaseTypeName(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeLength); ok {
			t.length, t.hasLength = r.ColumnTypeLength(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeNullable); ok {
			t.nullable, t.hasNullable = r.ColumnTypeNullable(i)
		}
		if r, ok := rows.(driver.RowsColumnTypePrecisionScale); ok {
			t.precision, t.scale, t.decimal = r.ColumnTypePrecisionScale(i)
		}
	}
	return c
}

// Columns gives each caller names of its own: database/sql hands them to the program, which may write into them.
func (r *Rows) Columns() []string {
	if r.names == nil {
		r.names = slices.Clone(r.columns.names)
	}
	return r.names
}

// Close drops the rows that were not read. What they are the result of is committed.
func (r *Rows) Close() error {
	r.values, r.err = nil, nil
	return nil
}

func (r *Rows) Next(dest []driver.Value) error {
	if len(r.values) == 0 {
		return cmp.Or(r.err, io.EOF)
	}
	r.values = r.values[copy(dest, r.values[:len(r.columns.names)]):]
	return nil
}

func (r *Rows) ColumnTypeScanType(i int) reflect.Type {
	if t := r.columns.types[i].scan; t != nil {
		return t
	}
	return reflect.TypeFor[any]()
}

func (r *Rows) ColumnTypeDatabaseTypeName(i int) string { return r.columns.types[i].database }

func (r *Rows) ColumnTypeLength(i int) (int64, bool) {
	t := &r.columns.types[i]
	return t.length, t.hasLength
}

func (r *Rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	t := &r.columns.types[i]
	return t.nullable, t.hasNullable
}

func (r *Rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	t := &r.columns.types[i]
	return t.precision, t.scale, t.decimal
}

// A RowReader reads the rows of the calls of one session.
type RowReader struct{ row []driver.Value }

var (
	errLarge   = errors.New("groupcommit: the call has more rows than a group keeps")
	errColumns = errors.New("groupcommit: the call has rows without columns")
)

// Read reads a call's rows to their end, keeps them for the caller and closes them. columns are those of the rows; nil has Read ask
// the driver.
//
// After an error nothing is kept, and the group must not commit what the call has done: there are too many rows, or an error has come
// behind a row. The call then runs by itself, where its caller gets the driver's own rows and the error in its place.
func (r *RowReader) Read(c *Call, rows driver.Rows, columns *Columns) error {
	kept, err := r.read(rows, columns, mostRows, mostRowBytes)
	if closed := rows.Close(); err == nil {
		err = closed
	}
	c.large = c.large || err == errLarge
	if err == nil {
		c.rows = kept
	}
	return err
}

// ReadAll is [RowReader.Read] for a group that may commit what the call has done, whatever comes out of its rows: an error of Next is
// kept, and the caller meets it behind them. So after an error of Close, which says that nothing will be committed, nothing is kept. If
// bounded is false all rows are kept: it was certain before that they are few, and the group can no longer be undone.
func (r *RowReader) ReadAll(c *Call, rows driver.Rows, columns *Columns, bounded bool) error {
	most, mostBytes := math.MaxInt, math.MaxInt
	if bounded {
		most, mostBytes = mostRows, mostRowBytes
	}
	kept, err := r.read(rows, columns, most, mostBytes)
	if closed := rows.Close(); closed != nil {
		return closed
	}
	c.large = c.large || err == errLarge || kept.isLarge()
	if err == errLarge {
		return err
	}
	kept.err, c.rows = err, kept
	return nil
}

func (r *RowReader) read(rows driver.Rows, columns *Columns, most, mostBytes int) (kept *Rows, err error) {
	if columns == nil {
		columns = ColumnsOf(rows)
	}
	n := len(columns.names)
	for len(r.row) < n {
		r.row = append(r.row, nil)
	}
	row := r.row[:n]
	defer clear(row)
	kept = &Rows{columns: columns}
	for count := 0; ; {
		switch err := rows.Next(row); {
		case err == io.EOF:
			return kept, nil
		case err != nil:
			return kept, err
		case n == 0:
			return kept, errColumns
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = bytes.Clone(b) // it is the driver's until the next row
			}
		}
		kept.size += sizeOf(row)
		if count++; count > most || kept.size > mostBytes {
			return kept, errLarge
		}
		kept.values = append(kept.values, row...)
	}
}

// isLarge reports that there is more than a group should keep.
func (r *Rows) isLarge() bool {
	return len(r.values) > mostRows*len(r.columns.names) || r.size > mostRowBytes
}
