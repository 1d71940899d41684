package engine

import (
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// How the ledger keeps the rows of a call with an id. The encoding is the value's member "returned", see package record:
//
//	version, number of columns, column…, number of rows, value…
//	column: name, database's type, scan type, flags, [length], [precision, scale]
//	value:  tag, content
//
// Numbers are varints, and texts have their length before them. Ledgers are full of such rows: another encoding needs another
// version, and this one must be read as long as a ledger may have it.
const rowsVersion = 1

// The tags of values.
const (
	tagNull = iota
	tagInt
	tagFloat
	tagFalse
	tagTrue
	tagBytes
	tagNilBytes
	tagText
	tagTime
)

// The zones of times. The driver's own Local is that of the process which reads.
const (
	zoneUTC = iota
	zoneLocal
	zoneFixed // name, offset
	zoneNamed // name, offset at that time
)

// The flags of a column.
const (
	flagLength = 1 << iota
	flagHasNullable
	flagNullable
	flagDecimal
)

// scanTypes are the types that a column may be scanned into. A type's place is its number in the encoding; 0 is no answer of the
// driver's. New ones go to the end.
var scanTypes = []reflect.Type{
	nil,
	reflect.TypeFor[any](), reflect.TypeFor[*any](),
	reflect.TypeFor[bool](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[float32](), reflect.TypeFor[float64](),
	reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[time.Time](), reflect.TypeFor[sql.RawBytes](),
	reflect.TypeFor[sql.NullBool](), reflect.TypeFor[sql.NullInt64](), reflect.TypeFor[sql.NullFloat64](),
	reflect.TypeFor[sql.NullString](), reflect.TypeFor[sql.NullTime](),
}

var scanNumbers = func() map[reflect.Type]byte {
	numbers := make(map[reflect.Type]byte, len(scanTypes))
	for i, t := range scanTypes {
		numbers[t] = byte(i)
	}
	return numbers
}()

// encodeColumns appends the beginning of an encoding.
func encodeColumns(b []byte, c *Columns) ([]byte, error) {
	b = binary.AppendUvarint(append(b, rowsVersion), uint64(len(c.names)))
	for i, name := range c.names {
		t := &c.types[i]
		scan, ok := scanNumbers[t.scan]
		if !ok {
			return nil, fmt.Errorf("column %q is scanned into a %v", name, t.scan)
		}
		b = append(appendString(appendString(b, name), t.database), scan, flags(t))
		if t.hasLength {
			b = binary.AppendVarint(b, t.length)
		}
		if t.decimal {
			b = binary.AppendVarint(binary.AppendVarint(b, t.precision), t.scale)
		}
	}
	return b, nil
}

func flags(t *columnType) (f byte) {
	for i, is := range [...]bool{t.hasLength, t.hasNullable, t.nullable, t.decimal} { // in the order of the flags
		if is {
			f |= 1 << i
		}
	}
	return f
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// encodeValue appends a value. ok is false if it is none of database/sql's types.
func encodeValue(b []byte, v driver.Value) (with []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(b, tagNull), true
	case int64:
		return binary.AppendVarint(append(b, tagInt), v), true
	case float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat), math.Float64bits(v)), true
	case bool:
		if v {
			return append(b, tagTrue), true
		}
		return append(b, tagFalse), true
	case []byte:
		if v == nil {
			return append(b, tagNilBytes), true
		}
		return appendString(append(b, tagBytes), v), true
	case string:
		return appendString(append(b, tagText), v), true
	case time.Time:
		return encodeTime(append(b, tagTime), v), true
	}
	return b, false
}

func encodeTime(b []byte, t time.Time) []byte {
	b = binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
	switch t.Location() {
	case time.UTC:
		return append(b, zoneUTC)
	case time.Local:
		return append(b, zoneLocal)
	}
	zone := byte(zoneNamed)
	if start, end := t.ZoneBounds(); start.IsZero() && end.IsZero() {
		zone = zoneFixed
	}
	_, offset := t.Zone()
	return binary.AppendVarint(appendString(append(b, zone), t.Location().String()), int64(offset))
}

var errRows = errors.New("the encoding of the recorded rows is damaged")

// decodeRows reads an encoding. All that is in the rows is the caller's own.
func decodeRows(b []byte) (*Rows, error) {
	d := decoder{b: b}
	if v := d.byte(); v != rowsVersion && !d.bad {
		return nil, fmt.Errorf("the rows are recorded in version %d of their encoding, of which this version of the library knows none but %d", v, rowsVersion)
	}
	c := d.columns()
	n := d.count(len(c.names))
	r := &Rows{columns: c, values: make([]driver.Value, n*len(c.names))}
	for i := range r.values {
		r.values[i] = d.value()
	}
	if d.bad || len(d.b) > 0 {
		return nil, errRows
	}
	return r, nil
}

// A decoder reads from b. If that is damaged, it is bad and has nothing more.
type decoder struct {
	b    []byte
	bad  bool
	zone *time.Location // the latest that was loaded
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) take(n uint64) (taken []byte) {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	taken, d.b = d.b[:n], d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 { return number(d, binary.Uvarint) }
func (d *decoder) varint() int64   { return number(d, binary.Varint) }

func number[T uint64 | int64](d *decoder, read func([]byte) (T, int)) T {
	v, n := read(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

// count reads a number of things, each of which has at least so many bytes.
func (d *decoder) count(bytes int) int {
	n := d.uvarint()
	if n > 0 && (bytes == 0 || n > uint64(len(d.b)/bytes)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) columns() *Columns {
	n := d.count(4)
	c := &Columns{names: make([]string, n), types: make([]columnType, n)}
	for i := range c.types {
		t := &c.types[i]
		c.names[i], t.database = d.string(), d.string()
		if scan := int(d.byte()); scan < len(scanTypes) {
			t.scan = scanTypes[scan]
		} else {
			d.fail()
		}
		f := d.byte()
		t.hasLength, t.hasNullable, t.nullable, t.decimal = f&flagLength != 0, f&flagHasNullable != 0, f&flagNullable != 0, f&flagDecimal != 0
		if t.hasLength {
			t.length = d.varint()
		}
		if t.decimal {
			t.precision, t.scale = d.varint(), d.varint()
		}
	}
	return c
}

func (d *decoder) value() driver.Value {
	switch d.byte() {
	case tagNull:
		return nil
	case tagInt:
		return d.varint()
	case tagFloat:
		if b := d.take(8); b != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case tagFalse:
		return false
	case tagTrue:
		return true
	case tagBytes:
		return append([]byte{}, d.take(d.uvarint())...)
	case tagNilBytes:
		return []byte(nil)
	case tagText:
		return d.string()
	case tagTime:
		return d.time()
	default:
		d.fail()
	}
	return nil
}

func (d *decoder) time() time.Time {
	t := time.Unix(d.varint(), int64(d.uvarint()%1e9))
	zone := d.byte()
	switch zone {
	case zoneUTC:
		return t.UTC()
	case zoneLocal:
		return t
	case zoneFixed, zoneNamed:
	default:
		d.fail()
		return t
	}
	name, offset := d.string(), int(d.varint())
	if zone == zoneNamed && d.load(name) {
		if _, here := t.In(d.zone).Zone(); here == offset {
			return t.In(d.zone)
		}
	}
	return t.In(time.FixedZone(name, offset)) // also where this machine does not know the zone, or knows another law
}

// load makes d.zone the zone of a name, and reports that there is one.
func (d *decoder) load(name string) bool {
	if d.zone != nil && d.zone.String() == name {
		return true
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		d.zone = zone
	}
	return err == nil
}
