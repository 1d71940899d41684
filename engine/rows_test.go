package engine

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeRows uses the bytes of a row again for the next one.
type fakeRows struct {
	names  []string
	texts  []string
	err    error // behind the last row
	room   []byte
	closed bool
}

func (r *fakeRows) Columns() []string { return r.names }
func (r *fakeRows) Close() error      { r.closed = true; return nil }

func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.texts) == 0 {
		return r.err
	}
	r.room = append(r.room[:0], r.texts[0]...)
	r.texts = r.texts[1:]
	for i := range dest {
		dest[i] = r.room
	}
	return nil
}

// typedRows say something of their columns.
type typedRows struct{ fakeRows }

func (*typedRows) ColumnTypeScanType(int) reflect.Type               { return reflect.TypeFor[int8]() }
func (*typedRows) ColumnTypeDatabaseTypeName(int) string             { return "TINY" }
func (*typedRows) ColumnTypeLength(int) (int64, bool)                { return 3, true }
func (*typedRows) ColumnTypeNullable(int) (bool, bool)               { return false, true }
func (*typedRows) ColumnTypePrecisionScale(int) (int64, int64, bool) { return 5, 2, true }

func asked() *Call {
	c := NewCall(context.Background(), "INSERT", nil, false)
	c.WantRows()
	return &c
}

func TestNamesOfColumnsAreTheCallersOwn(t *testing.T) {
	columns := ColumnsOf(&fakeRows{names: []string{"a", "b"}})
	one, other := &Rows{columns: columns}, &Rows{columns: columns}
	one.Columns()[0] = "written by the program"
	require.Equal(t, []string{"a", "b"}, other.Columns())
	require.Equal(t, []string{"written by the program", "b"}, one.Columns(), "as a driver's own")
}

func TestRowsOfACallAreItsOwn(t *testing.T) {
	var reader RowReader
	c, rows := asked(), &fakeRows{names: []string{"a", "b"}, texts: []string{"first", "next"}, err: io.EOF}
	require.NoError(t, reader.Read(c, rows, nil))
	require.True(t, rows.closed)
	c.Answer(nil, nil)
	got, err := c.Rows()
	require.NoError(t, err)
	require.Equal(t, rows.names, got.Columns())
	for _, want := range []string{"first", "next"} {
		row := make([]driver.Value, 2)
		require.NoError(t, got.Next(row))
		require.Equal(t, []driver.Value{[]byte(want), []byte(want)}, row)
	}
	require.Equal(t, io.EOF, got.Next(make([]driver.Value, 2)))
	c.Reset()
	_, err = c.Rows()
	require.ErrorIs(t, err, ErrUnanswered)
}

func TestRowsSayOfTheirColumnsWhatTheDriverSays(t *testing.T) {
	for _, driven := range []driver.Rows{&fakeRows{names: []string{"a"}, err: io.EOF}, &typedRows{fakeRows{names: []string{"a"}, err: io.EOF}}} {
		_, typed := driven.(*typedRows)
		rows := &Rows{columns: ColumnsOf(driven)}
		length, ok := rows.ColumnTypeLength(0)
		require.Equal(t, typed, ok)
		require.Equal(t, typed, length == 3)
		_, ok = rows.ColumnTypeNullable(0)
		require.Equal(t, typed, ok)
		precision, scale, ok := rows.ColumnTypePrecisionScale(0)
		require.Equal(t, typed, ok)
		require.Equal(t, typed, precision == 5 && scale == 2)
		require.Equal(t, typed, rows.ColumnTypeDatabaseTypeName(0) == "TINY")
		require.Equal(t, typed, rows.ColumnTypeScanType(0) == reflect.TypeFor[int8]())
		require.NotNil(t, rows.ColumnTypeScanType(0))
	}
}

func TestRowsThatAGroupDoesNotKeep(t *testing.T) {
	broken := errors.New("behind a row")
	for name, c := range map[string]struct {
		rows  fakeRows
		large bool
	}{
		"too many":        {fakeRows{texts: make([]string, mostRows+1), err: io.EOF}, true},
		"too many bytes":  {fakeRows{texts: []string{strings.Repeat("x", mostRowBytes)}, err: io.EOF}, true},
		"an error behind": {fakeRows{texts: []string{"x"}, err: broken}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var reader RowReader
			call := asked()
			c.rows.names = []string{"a"}
			require.Error(t, reader.Read(call, &c.rows, nil))
			require.True(t, c.rows.closed)
			require.Equal(t, c.large, call.IsLarge())
			call.Reset()
			require.Equal(t, c.large, call.IsLarge(), "of an attempt")
		})
	}
}

type closingRows struct {
	fakeRows
	closing error
}

func (r *closingRows) Close() error { return r.closing }

// Where the call can no longer be undone, its rows are the caller's, however many they are, and so is an error behind them.
func TestRowsOfACallThatIsCommittedInAnyCase(t *testing.T) {
	broken, undone := errors.New("behind a row"), errors.New("not committed")
	all := func(rows driver.Rows) (n int, err error) {
		for row := make([]driver.Value, 1); err == nil; n++ {
			err = rows.Next(row)
		}
		return n - 1, err
	}
	for name, c := range map[string]struct {
		rows    closingRows
		bounded bool
		n       int
		end     error // of Next; nil: nothing is kept
		large   bool
	}{
		"as many as a group keeps": {closingRows{fakeRows: fakeRows{texts: make([]string, mostRows), err: io.EOF}}, false, mostRows, io.EOF, false},
		"too many":                 {closingRows{fakeRows: fakeRows{texts: make([]string, mostRows+1), err: io.EOF}}, false, mostRows + 1, io.EOF, true},
		"too many bytes":           {closingRows{fakeRows: fakeRows{texts: []string{strings.Repeat("x", mostRowBytes)}, err: io.EOF}}, false, 1, io.EOF, true},
		"too many, bounded":        {closingRows{fakeRows: fakeRows{texts: make([]string, mostRows+1), err: io.EOF}}, true, 0, nil, true},
		"an error behind":          {closingRows{fakeRows: fakeRows{texts: []string{"x"}, err: broken}}, false, 1, broken, false},
		"an error behind, bounded": {closingRows{fakeRows: fakeRows{texts: []string{"x"}, err: broken}}, true, 1, broken, false},
		"undone":                   {closingRows{fakeRows: fakeRows{texts: []string{"x"}, err: io.EOF}, closing: undone}, false, 0, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var reader RowReader
			call := asked()
			c.rows.names = []string{"a"}
			err := reader.ReadAll(call, &c.rows, nil, c.bounded)
			require.Equal(t, c.large, call.IsLarge())
			if c.end == nil {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			call.Answer(nil, nil)
			rows, err := call.Rows()
			require.NoError(t, err)
			n, err := all(rows)
			require.Equal(t, c.n, n)
			require.Equal(t, c.end, err)
			require.NoError(t, rows.Close())
			require.Equal(t, io.EOF, rows.Next(make([]driver.Value, 1)))
		})
	}
}
