package pgx

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// The rows of a member of a group are those of package stdlib, which has no way to make its own of what a pipeline answers. The
// columns are asked for in the formats that stdlib asks for, and the values are made of them as stdlib makes them.

// stdlibFormats are the columns that stdlib wants in binary. All others are text.
var stdlibFormats = pgx.QueryResultFormatsByOID{
	pgtype.BoolOID:        pgx.BinaryFormatCode,
	pgtype.ByteaOID:       pgx.BinaryFormatCode,
	pgtype.CIDOID:         pgx.BinaryFormatCode,
	pgtype.DateOID:        pgx.BinaryFormatCode,
	pgtype.Float4OID:      pgx.BinaryFormatCode,
	pgtype.Float8OID:      pgx.BinaryFormatCode,
	pgtype.Int2OID:        pgx.BinaryFormatCode,
	pgtype.Int4OID:        pgx.BinaryFormatCode,
	pgtype.Int8OID:        pgx.BinaryFormatCode,
	pgtype.OIDOID:         pgx.BinaryFormatCode,
	pgtype.TimestampOID:   pgx.BinaryFormatCode,
	pgtype.TimestamptzOID: pgx.BinaryFormatCode,
	pgtype.XIDOID:         pgx.BinaryFormatCode,
}

// formatsOf appends the formats of the columns of a statement.
func formatsOf(formats []int16, sd *pgconn.StatementDescription) []int16 {
	for i := range sd.Fields {
		formats = append(formats, stdlibFormats[sd.Fields[i].DataTypeOID])
	}
	return formats
}

// rowsReader reads the rows of the calls of one session.
type rowsReader struct {
	engine.RowReader
	known   map[string]*knownColumns // by text; of a bounded number
	current resultRows
	began   bool // the last call has had a row
}

// knownColumns are the columns of a text as they were the last time.
type knownColumns struct {
	fields  []pgconn.FieldDescription
	types   []*pgtype.Type // those that are known to the connection
	columns *engine.Columns
}

const maxKnownColumns = 256

// columnsOf returns what stdlib would say of the columns of rows.
func (s *rowsReader) columnsOf(query string, rows *resultRows) *engine.Columns {
	if k := s.known[query]; k != nil && slices.Equal(k.fields, rows.fields) && rows.haveTypes(k.types) {
		return k.columns
	}
	if s.known == nil || len(s.known) >= maxKnownColumns {
		s.known = make(map[string]*knownColumns)
	}
	k := &knownColumns{fields: slices.Clone(rows.fields), types: make([]*pgtype.Type, len(rows.fields)), columns: engine.ColumnsOf(rows)}
	for i := range k.types {
		k.types[i] = rows.typeOf(i)
	}
	s.known[query] = k
	return k.columns
}

// errTooMany ends a transaction that can still be undone, in which a call has more rows than a group keeps.
var errTooMany = errors.New("groupcommit/pgx: a call has more rows than a group keeps")

// read reads the answer to a call that wants rows, and keeps them for its caller. n is the number of affected rows. An error is the
// server's, or the connection's; or errTooMany, if bounded is true. A panic in a codec of the program's is the call's answer, and the
// pipeline reads past the rows that it has left.
func (s *rowsReader) read(types *pgtype.Map, c *engine.Call, from *pgconn.ResultReader, bounded bool) (n int64, err error) {
	rows := &s.current
	*rows = resultRows{reader: s, types: types, from: from, fields: from.FieldDescriptions()}
	returned := c.Try(func(c *engine.Call) (driver.Result, error) {
		err = s.ReadAll(c, rows, s.columnsOf(c.Query, rows), bounded)
		return rows.affected, err
	})
	if returned && err != nil && rows.failed == nil {
		err = errTooMany
	}
	return int64(rows.affected), err
}

// resultRows are a result as stdlib's Rows would give it.
type resultRows struct {
	reader   *rowsReader
	types    *pgtype.Map
	from     *pgconn.ResultReader
	fields   []pgconn.FieldDescription // valid until from is closed
	affected result
	failed   error // of Close
}

// typeOf is the type of a column, as the connection knows it; nil if it does not.
func (r *resultRows) typeOf(i int) *pgtype.Type {
	dt, _ := r.types.TypeForOID(r.fields[i].DataTypeOID)
	return dt
}

func (r *resultRows) haveTypes(types []*pgtype.Type) bool {
	for i, dt := range types {
		if r.typeOf(i) != dt {
			return false
		}
	}
	return true
}

func (r *resultRows) Columns() []string {
	names := make([]string, len(r.fields))
	for i := range r.fields {
		names[i] = r.fields[i].Name
	}
	return names
}

func (r *resultRows) Close() error {
	tag, err := r.from.Close()
	r.affected, r.failed = result(tag.RowsAffected()), err
	return err
}

// Next makes the values of the next row. An error is of the making. The server's comes from Close.
func (r *resultRows) Next(dest []driver.Value) error {
	if !r.from.NextRow() {
		return io.EOF
	}
	r.reader.began = true
	for i, src := range r.from.Values() {
		dest[i] = nil
		if src == nil {
			continue
		}
		v, err := valueFrom(r.types, &r.fields[i], src)
		if err != nil {
			return fmt.Errorf("convert field %d failed: %w", i, err)
		}
		dest[i] = v
	}
	return nil
}

// valueFrom makes a value of what the server has sent.
func valueFrom(m *pgtype.Map, f *pgconn.FieldDescription, src []byte) (driver.Value, error) {
	switch f.DataTypeOID {
	case pgtype.BoolOID:
		return scanned[bool](m, f, src)
	case pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
		return scanned[[]byte](m, f, src)
	case pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID:
		return valued[pgtype.Uint32](m, f, src)
	case pgtype.DateOID:
		return valued[pgtype.Date](m, f, src)
	case pgtype.Float4OID:
		var d float32
		err := m.Scan(f.DataTypeOID, f.Format, src, &d)
		return float64(d), err
	case pgtype.Float8OID:
		return scanned[float64](m, f, src)
	case pgtype.Int2OID:
		return integer[int16](m, f, src)
	case pgtype.Int4OID:
		return integer[int32](m, f, src)
	case pgtype.Int8OID:
		return scanned[int64](m, f, src)
	case pgtype.TimestampOID:
		return valued[pgtype.Timestamp](m, f, src)
	case pgtype.TimestamptzOID:
		return valued[pgtype.Timestamptz](m, f, src)
	}
	return scanned[string](m, f, src)
}

func scanned[T any](m *pgtype.Map, f *pgconn.FieldDescription, src []byte) (driver.Value, error) {
	var d T
	err := m.Scan(f.DataTypeOID, f.Format, src, &d)
	return d, err
}

func integer[T int16 | int32](m *pgtype.Map, f *pgconn.FieldDescription, src []byte) (driver.Value, error) {
	var d T
	err := m.Scan(f.DataTypeOID, f.Format, src, &d)
	return int64(d), err
}

// valued is for the types that make their value themselves.
func valued[T driver.Valuer](m *pgtype.Map, f *pgconn.FieldDescription, src []byte) (driver.Value, error) {
	var d T
	if err := m.Scan(f.DataTypeOID, f.Format, src, &d); err != nil {
		return nil, err
	}
	return d.Value()
}
