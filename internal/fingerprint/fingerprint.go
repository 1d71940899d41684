// Package fingerprint says whether two calls are the same statement with the same arguments.
package fingerprint

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// A fingerprint says whether a call with an id is the one that the id belongs to. The same call must have the same
// fingerprint in every process, today and after a restart. So a fingerprint has no addresses in it, and no order that is by
// chance. Another call must have another fingerprint. So all that a driver may send of an argument counts. An argument that
// does not allow both is refused: a guess would replay the outcome of another call, or execute a call twice.
//
// Each value is written with its kind and its length, so that no two values run into the same bytes.

// Of digests a statement and its arguments as the driver gets them. The type of an argument counts: 1, 1.0, "1" and true are
// four arguments. A time counts by its instant, and a [driver.Valuer] by its type and its Value, which is called once. Any
// other value counts by its type and all that it holds, its unexported fields included.
//
// The id is for the error about an argument that has no fingerprint.
func Of(id, query string, args []driver.NamedValue) (durable.Key, error) {
	var room [256]byte // enough for most calls; only the digest is kept
	h := appendHead(room[:0], query)
	for _, a := range args {
		ok := false
		if h, ok = appendPlain(appendName(h, a.Name), a.Value); !ok {
			return ofAny(id, query, args)
		}
	}
	return digest(h), nil
}

// ofAny is Of for any arguments.
func ofAny(id, query string, args []driver.NamedValue) (durable.Key, error) {
	h := appendHead(nil, query)
	for i, a := range args {
		h = appendName(h, a.Name)
		with, ok := appendPlain(h, a.Value)
		if !ok {
			var err error
			if with, err = appendOther(h, a.Value); err != nil {
				name := "$" + strconv.Itoa(i+1)
				if a.Name != "" {
					name = strconv.Quote(a.Name)
				}
				return "", fmt.Errorf("groupcommit: id %q: argument %s is a %T, which cannot be compared with what another process had: %w; numbers, strings, times and what consists of such can be, and so can a driver.Valuer", id, name, a.Value, err)
			}
		}
		h = with
	}
	return digest(h), nil
}

func digest(h []byte) durable.Key {
	sum := sha256.Sum256(h)
	return durable.Key(sum[:])
}

func appendHead(h []byte, query string) []byte {
	return appendText(append(h, 1), 'q', query) // 1 is the version of this encoding
}

func appendName(h []byte, name string) []byte {
	if name == "" {
		return h
	}
	return appendText(h, '@', name)
}

func appendText(h []byte, tag byte, s string) []byte {
	h = append(h, tag)
	h = binary.AppendUvarint(h, uint64(len(s)))
	return append(h, s...)
}

func appendNumber(h []byte, tag byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(h, tag), n)
}

func appendBool(h []byte, b bool) []byte {
	if b {
		return append(h, 'b', 1)
	}
	return append(h, 'b', 0)
}

func appendTime(h []byte, t time.Time) []byte {
	return appendNumber(appendNumber(h, 't', uint64(t.Unix())), 't', uint64(t.Nanosecond()))
}

// appendPlain encodes a value that every driver knows. Ledgers are full of such fingerprints: another encoding of these
// values needs another version.
func appendPlain(h []byte, v any) (with []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(h, 'n'), true
	case int64:
		return appendNumber(h, 'i', uint64(v)), true
	case int:
		return appendNumber(h, 'i', uint64(v)), true
	case float64:
		return appendNumber(h, 'f', math.Float64bits(v)), true
	case bool:
		return appendBool(h, v), true
	case string:
		return appendText(h, 's', v), true
	case []byte:
		if v == nil { // the drivers bind NULL
			return append(h, 'n'), true
		}
		return appendText(h, 'x', string(v)), true
	case time.Time:
		return appendTime(h, v), true
	}
	return h, false
}

// appendOther encodes a value that only some drivers know.
func appendOther(h []byte, v any) ([]byte, error) {
	r := reflect.ValueOf(v)
	valuer, ok := v.(driver.Valuer)
	if !ok || r.Kind() == reflect.Pointer && r.IsNil() {
		return appendTyped(h, r)
	}
	inner, failed := valuer.Value()
	if failed != nil { // the driver will report it, and the ledger records no outcome
		if with, err := appendTyped(h, r); err == nil {
			return with, nil
		}
		return appendText(appendText(h, 'E', typeName(r.Type())), 'E', failed.Error()), nil
	}
	h = appendText(h, 'V', typeName(r.Type()))
	if with, ok := appendPlain(h, inner); ok {
		return with, nil
	}
	return appendTyped(h, reflect.ValueOf(inner))
}

func appendTyped(h []byte, r reflect.Value) ([]byte, error) {
	w := walk{h: appendText(h, 'v', typeName(r.Type()))}
	err := w.content(r)
	return w.h, err
}

// typeName is a type's name with the path of its package, which String leaves out.
func typeName(t reflect.Type) string {
	if t.Name() != "" {
		if t.PkgPath() == "" {
			return t.Name()
		}
		return t.PkgPath() + "." + t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + typeName(t.Elem())
	case reflect.Slice:
		return "[]" + typeName(t.Elem())
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + typeName(t.Elem())
	case reflect.Map:
		return "map[" + typeName(t.Key()) + "]" + typeName(t.Elem())
	case reflect.Struct:
		var b strings.Builder
		b.WriteString("struct{")
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintf(&b, "%s %s %q;", f.Name, typeName(f.Type), f.Tag)
		}
		return b.String() + "}"
	}
	return t.String()
}
