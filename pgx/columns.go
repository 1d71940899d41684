package pgx

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// What stdlib's Rows say of their columns. They do not say whether a column may be null.

// ColumnTypeDatabaseTypeName is the name that the connection knows the type by, or its OID.
func (r *resultRows) ColumnTypeDatabaseTypeName(i int) string {
	if dt := r.typeOf(i); dt != nil {
		return strings.ToUpper(dt.Name)
	}
	return strconv.FormatUint(uint64(r.fields[i].DataTypeOID), 10)
}

// headerSize is part of a type's modifier.
const headerSize = 4

func (r *resultRows) ColumnTypeLength(i int) (int64, bool) {
	switch f := &r.fields[i]; f.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return int64(f.TypeModifier - headerSize), true
	case pgtype.VarbitOID:
		return int64(f.TypeModifier), true
	}
	return 0, false
}

func (r *resultRows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if r.fields[i].DataTypeOID != pgtype.NumericOID {
		return 0, 0, false
	}
	mod := r.fields[i].TypeModifier - headerSize
	return int64(mod >> 16 & 0xffff), int64(mod & 0xffff), true
}

func (r *resultRows) ColumnTypeScanType(i int) reflect.Type {
	switch r.fields[i].DataTypeOID {
	case pgtype.Float8OID, pgtype.NumericOID:
		return reflect.TypeFor[float64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Int8OID:
		return reflect.TypeFor[int64]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	case pgtype.ByteaOID:
		return reflect.TypeFor[[]byte]()
	}
	return reflect.TypeFor[string]()
}
