package engine

import (
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listed are rows of any values.
type listed struct {
	names  []string
	rows   [][]driver.Value
	end    error // io.EOF if it is nil
	closed bool
}

func (r *listed) Columns() []string { return r.names }
func (r *listed) Close() error      { r.closed = true; return nil }

func (r *listed) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		if r.end != nil {
			return r.end
		}
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

func named(id string) *Call {
	c := asked()
	c.Identify(id, "key")
	return c
}

// back returns the rows that come out of the record of what went in.
func back(t testing.TB, rows driver.Rows) *Rows {
	t.Helper()
	res, err := ReadReturned(named("x"), rows, nil)
	require.NoError(t, err)
	a := Answer{Result: *res}
	got, err := a.Rows("x")
	require.NoError(t, err)
	return got.(*Rows)
}

func TestEveryValueComesOutOfTheRecordAsItWentIn(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	summer := time.Date(2024, 7, 29, 23, 59, 58, 123456789, time.UTC)
	values := []driver.Value{
		nil, int64(0), int64(math.MinInt64), int64(math.MaxInt64), 0.0, math.Copysign(0, -1), math.Inf(1), 5e-324,
		true, false, []byte(nil), []byte{}, []byte{0, 255}, "", "text \x00\xff",
		time.Time{}, summer, summer.Local(), summer.In(berlin), summer.AddDate(0, 6, 0).In(berlin),
		summer.In(time.FixedZone("", 5400)), summer.In(time.FixedZone("CET", 3600)), summer.In(time.FixedZone("Europe/Berlin", -60)),
		time.Date(-4713, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(294276, 12, 31, 23, 59, 59, 999999000, time.UTC),
	}
	got := back(t, &listed{names: make([]string, len(values)), rows: [][]driver.Value{values}})
	require.Equal(t, values, got.values)
	require.True(t, math.Signbit(got.values[5].(float64)))
	nan := back(t, &listed{names: []string{"n"}, rows: [][]driver.Value{{math.NaN()}}})
	require.True(t, math.IsNaN(nan.values[0].(float64)))
}

func TestAZoneThatIsNotKnownHereKeepsItsNameAndItsOffset(t *testing.T) {
	for name, offset := range map[string]int{"No/Such": 3600, "Europe/Berlin": 60} { // the law has changed since
		b := append([]byte{}, 0, 0, zoneNamed)
		d := decoder{b: binary.AppendVarint(appendString(b, name), int64(offset))}
		at := d.time()
		require.False(t, d.bad)
		_, got := at.Zone()
		require.Equal(t, offset, got)
		require.Equal(t, name, at.Location().String())
	}
}

func TestColumnsComeOutOfTheRecordAsTheyWentIn(t *testing.T) {
	in := &Columns{}
	for i, scan := range scanTypes {
		in.names = append(in.names, "column\xff")
		in.types = append(in.types, columnType{scan: scan, database: "TYPE", nullable: i%2 == 0, hasNullable: i%3 == 0})
	}
	in.types[0] = columnType{length: math.MaxInt64, hasLength: true, precision: -4, scale: 65535, decimal: true, database: "VARCHAR"}
	b, err := encodeColumns(nil, in)
	require.NoError(t, err)
	got, err := decodeRows(append(b, 0))
	require.NoError(t, err)
	require.Equal(t, in, got.columns)
	require.Equal(t, reflect.TypeFor[any](), got.ColumnTypeScanType(0))
}

// Ledgers have these bytes.
func TestTheFirstVersionOfTheEncodingStaysReadable(t *testing.T) {
	b, err := hex.DecodeString("0102" + "026964" + "07494e5445474552" + "0e06" + "0161" + "00" + "0001" + "08" +
		"02" + "010e" + "0703c3a921" + "00" + "08a6d0c0ae0c0700")
	require.NoError(t, err)
	got, err := decodeRows(b)
	require.NoError(t, err)
	require.Equal(t, &Columns{names: []string{"id", "a"}, types: []columnType{
		{scan: reflect.TypeFor[sql.NullInt64](), database: "INTEGER", nullable: true, hasNullable: true},
		{length: 4, hasLength: true},
	}}, got.columns)
	require.Equal(t, []driver.Value{int64(7), "é!", nil, time.Unix(1659376659, 7).UTC()}, got.values)
}

func TestADamagedRecordIsAnErrorAtEveryByte(t *testing.T) {
	res, err := ReadReturned(named("x"), &typedRows{fakeRows{names: []string{"a", "b"}, texts: []string{"first", "next"}, err: io.EOF}}, nil)
	require.Error(t, err, "int8 is no type of a column that is recorded")
	require.Nil(t, res)
	res, err = ReadReturned(named("x"), &listed{names: []string{"a", "b"}, rows: [][]driver.Value{{"one", time.Now()}, {int64(1), 2.0}}}, nil)
	require.NoError(t, err)
	for n := range len(res.returned) {
		_, err := decodeRows(res.returned[:n])
		require.ErrorIs(t, err, errRows, n)
	}
	_, err = decodeRows(append(res.returned[:len(res.returned):len(res.returned)], 0))
	require.ErrorIs(t, err, errRows)
	_, err = decodeRows([]byte{rowsVersion + 1})
	require.ErrorContains(t, err, "version 2")
}

func TestWhatCannotBeRecordedIsAnErrorThatNamesTheID(t *testing.T) {
	behind := errors.New("behind a row")
	for want, rows := range map[string]*listed{
		`column "n" is a int`: {names: []string{"n"}, rows: [][]driver.Value{{1}}},
		"256 rows":            {names: []string{"n"}, rows: make([][]driver.Value, 257)},
		"without columns":     {rows: [][]driver.Value{{}}},
	} {
		_, err := ReadReturned(named("mine"), rows, nil)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, `id "mine"`)
		require.ErrorContains(t, err, "committed")
		require.True(t, rows.closed)
	}
	rows := &listed{names: []string{"n"}, rows: [][]driver.Value{{int64(1)}}, end: behind}
	_, err := ReadReturned(named("mine"), rows, nil)
	require.Equal(t, behind, err, "the driver's own")
	require.True(t, rows.closed)
}

func TestEachCallerOfAQueryHasItsOwnRows(t *testing.T) {
	res, err := ReadReturned(named("x"), &listed{names: []string{"b"}, rows: [][]driver.Value{{[]byte("whole")}}}, nil)
	require.NoError(t, err)
	a, row := Answer{Result: *res}, make([]driver.Value, 1)
	for range 3 {
		rows, err := a.Rows("x")
		require.NoError(t, err)
		require.NoError(t, rows.Next(row))
		require.Equal(t, []driver.Value{[]byte("whole")}, row)
		copy(row[0].([]byte), "broken")
		require.Equal(t, io.EOF, rows.Next(row))
	}
}

// made are rows of values that bytes make.
func made(b []byte) *listed {
	d := decoder{b: b}
	r := &listed{names: make([]string, 1+d.byte()%5)}
	for i := range r.names {
		r.names[i] = d.string()
	}
	for len(d.b) > 0 && len(r.rows) < mostRows {
		row := make([]driver.Value, len(r.names))
		for i := range row {
			switch d.byte() % 8 {
			case 0:
				row[i] = d.varint()
			case 1:
				row[i] = float64(d.varint()) / 3
			case 2:
				row[i] = d.byte()%2 == 0
			case 3:
				row[i] = append([]byte{}, d.take(d.uvarint()%64)...)
			case 4:
				row[i] = string(d.take(d.uvarint() % 64))
			case 5:
				row[i] = time.Unix(d.varint()%1e11, int64(d.byte())).In(time.FixedZone(string(d.take(uint64(d.byte()%8))), int(d.byte())*60))
			case 6:
				row[i] = time.Unix(d.varint()%1e11, int64(d.byte())).UTC()
			}
		}
		r.rows = append(r.rows, row)
	}
	return r
}

func FuzzRowsGoThroughTheirRecord(f *testing.F) {
	f.Add([]byte("\x02\x02id\x01a\x00\x0e\x04\x03abc\x05\x06\x07\x03CET\x09"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := made(b)
		var want []driver.Value
		for _, row := range in.rows {
			want = append(want, row...)
		}
		res, err := ReadReturned(named("x"), made(b), nil)
		if err != nil {
			require.ErrorContains(t, err, "at most")
			return
		}
		got, err := decodeRows(res.returned)
		require.NoError(t, err)
		require.Equal(t, in.names, got.Columns())
		require.Equal(t, len(want), len(got.values))
		for i := range want {
			require.Equal(t, want[i], got.values[i])
		}
	})
}

// Whatever is in the table, reading it ends, with rows or an error, in memory of its own size.
func FuzzRecordOfRows(f *testing.F) {
	res, err := ReadReturned(named("x"), &listed{names: []string{"a", "b"}, rows: [][]driver.Value{{"one", time.Now()}, {int64(1), 2.0}}}, nil)
	require.NoError(f, err)
	f.Add(res.returned)
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := decodeRows(b)
		if err != nil {
			return
		}
		again, err := encodeColumns(nil, rows.columns)
		require.NoError(t, err)
		n := 0
		if len(rows.columns.names) > 0 {
			n = len(rows.values) / len(rows.columns.names)
		}
		again = binary.AppendUvarint(again, uint64(n))
		for _, v := range rows.values {
			var ok bool
			again, ok = encodeValue(again, v)
			require.True(t, ok)
		}
		same, err := decodeRows(again)
		require.NoError(t, err)
		require.Equal(t, rows.columns, same.columns)
		require.Equal(t, len(rows.values), len(same.values))
	})
}
