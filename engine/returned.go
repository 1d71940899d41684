package engine

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"io"
)

// Rows of a call with an id. They are recorded with the call's outcome, in its transaction, and the call is answered from what
// was recorded: the first time, too, so that every answer has the same rows and the same columns.

// ReadReturned reads the rows of a call with an id to their end, and closes them. The result is the call's: [Call.Record] has
// the rows in it. columns are those of the rows; nil has ReadReturned ask the driver.
//
// After an error nothing of the call must be committed. An error of the driver's is the call's own, even if it has come behind
// a row. Any other says that the rows cannot be recorded; the call would not be answered again with them, so it must not take effect.
func ReadReturned(c *Call, rows driver.Rows, columns *Columns) (*Result, error) {
	if columns == nil {
		columns = ColumnsOf(rows)
	}
	res, err := readReturned(c, rows, columns)
	if closed := rows.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

func readReturned(c *Call, rows driver.Rows, columns *Columns) (*Result, error) {
	var values []byte
	row := make([]driver.Value, len(columns.names))
	n, size := 0, 0
	var unfit error
	for {
		err := rows.Next(row)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		n++
		size += sizeOf(row)
		if n > mostRows || size > mostRowBytes || unfit != nil { // the error tells how many there are
			continue
		}
		for i, v := range row {
			var ok bool
			if values, ok = encodeValue(values, v); !ok {
				unfit = fmt.Errorf("column %q is a %T", columns.names[i], v)
			}
		}
	}
	if n > mostRows || size > mostRowBytes {
		return nil, fmt.Errorf("groupcommit: id %q: the call returns %d rows of %d bytes, and an outcome is recorded with at most %d rows of %d bytes: nothing of it was committed; without an id it may return any number", c.id, n, size, mostRows, mostRowBytes)
	}
	record, err := encodeColumns(nil, columns)
	if unfit == nil {
		unfit = err
	}
	if unfit == nil && len(columns.names) == 0 {
		unfit = errColumns
	}
	if unfit != nil {
		return nil, fmt.Errorf("groupcommit: id %q: the rows cannot be recorded: nothing of the call was committed: %w", c.id, unfit)
	}
	record = binary.AppendUvarint(record, uint64(n))
	return &Result{rows: int64(n), idErr: errNoInsertID, returned: append(record, values...)}, nil
}

// Rows are the rows of a query with an id, made anew for each caller.
func (a *Answer) Rows(id string) (driver.Rows, error) {
	if _, err := a.Get(); err != nil {
		return nil, err
	}
	if a.Result.returned == nil {
		return nil, rowless{id}
	}
	rows, err := decodeRows(a.Result.returned)
	if err != nil {
		return nil, fmt.Errorf("groupcommit: id %q: %w", id, err)
	}
	return rows, nil
}

// RowBytes is the size of the rows that the result has beside its numbers.
func (r *Result) RowBytes() int { return len(r.returned) }

// rowless is the error of a query whose id is an Exec's: the outcome of that has no rows.
type rowless struct{ id string }

func (e rowless) Unwrap() error { return ErrMismatch }
func (e rowless) Error() string {
	return fmt.Sprintf("groupcommit: id %q belongs to an Exec of the statement, whose outcome has no rows to answer a query with", e.id)
}
