package fingerprint

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// A walk encodes a value by reflection, with all that it holds, each part with its kind. It also writes the type of a part
// where the type around does not decide it: at an interface; and at a field, because two types of functions may have the
// same name.
type walk struct {
	h    []byte
	path map[place]bool // the references that the walk is inside of
}

type place struct {
	at  uintptr
	len int
	of  reflect.Type
}

var (
	valuerType = reflect.TypeFor[driver.Valuer]()
	timeType   = reflect.TypeFor[time.Time]()
)

// exact are structs of the standard library that drivers know. A version of Go may change their fields, and the same value
// may have different fields.
var exact = map[reflect.Type]func(h []byte, v any) []byte{
	timeType:                        func(h []byte, v any) []byte { return appendTime(h, v.(time.Time)) },
	reflect.TypeFor[netip.Addr]():   func(h []byte, v any) []byte { return appendText(h, 's', v.(netip.Addr).String()) },
	reflect.TypeFor[netip.Prefix](): func(h []byte, v any) []byte { return appendPrefix(h, v.(netip.Prefix)) },
	reflect.TypeFor[big.Int]():      func(h []byte, v any) []byte { n := v.(big.Int); return appendText(h, 's', n.String()) },
}

// appendPrefix also tells invalid prefixes apart, which share one text.
func appendPrefix(h []byte, p netip.Prefix) []byte {
	return appendNumber(appendText(h, 's', p.Addr().String()), 'i', uint64(p.Bits()))
}

// value encodes a value inside of another one. It counts by its content and not by its Value: the driver may send either
// (JSON, for one, sends the content), and a Value may leave a part out. Only a value whose content cannot be compared counts
// by its Value.
func (w *walk) value(v reflect.Value) error {
	mark := len(w.h)
	err := w.content(v)
	if err == nil || !v.CanInterface() || !v.Type().Implements(valuerType) {
		return err
	}
	inner, failed := v.Interface().(driver.Valuer).Value()
	if failed != nil {
		return err
	}
	w.h = append(w.h[:mark], 'V')
	if with, ok := appendPlain(w.h, inner); ok {
		w.h = with
		return nil
	}
	return err
}

func (w *walk) content(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Bool:
		w.h = appendBool(w.h, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.h = appendNumber(w.h, 'i', uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		w.h = appendNumber(w.h, 'u', v.Uint())
	case reflect.Float32, reflect.Float64:
		w.h = appendNumber(w.h, 'f', math.Float64bits(v.Float()))
	case reflect.Complex64, reflect.Complex128:
		c := v.Complex()
		w.h = appendNumber(appendNumber(w.h, 'c', math.Float64bits(real(c))), 'c', math.Float64bits(imag(c)))
	case reflect.String:
		w.h = appendText(w.h, 's', v.String())
	case reflect.Array:
		return w.elements('a', v)
	case reflect.Struct:
		return w.fields(v)
	default:
		return w.reference(v)
	}
	return nil
}

// reference encodes a value that may be nil.
func (w *walk) reference(v reflect.Value) error {
	if v.IsNil() {
		w.h = append(w.h, 'n')
		return nil
	}
	switch v.Kind() {
	case reflect.Interface:
		v = v.Elem()
		w.h = appendText(w.h, 'I', typeName(v.Type()))
		return w.value(v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			w.h = appendText(w.h, 'x', string(v.Bytes()))
			return nil
		}
		return w.inside(v, v.Len(), func() error { return w.elements('l', v) })
	case reflect.Map:
		return w.inside(v, 0, func() error { return w.entries(v) })
	case reflect.Pointer:
		return w.inside(v, 0, func() error {
			w.h = append(w.h, '*')
			return w.value(v.Elem())
		})
	}
	return fmt.Errorf("a %s has nothing that can be compared", v.Type()) // a function, a channel, an unsafe pointer
}

// inside encodes the target of a reference, unless the target refers to itself.
func (w *walk) inside(v reflect.Value, n int, encode func() error) error {
	here := place{v.Pointer(), n, v.Type()}
	if w.path[here] {
		return fmt.Errorf("a %s contains itself", v.Type())
	}
	if w.path == nil {
		w.path = make(map[place]bool)
	}
	w.path[here] = true
	defer delete(w.path, here)
	return encode()
}

func (w *walk) elements(tag byte, v reflect.Value) error {
	w.h = appendNumber(w.h, tag, uint64(v.Len()))
	for i := range v.Len() {
		if err := w.value(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) fields(v reflect.Value) error {
	t := v.Type()
	if encode := exact[t]; encode != nil && v.CanInterface() {
		w.h = encode(w.h, v.Interface())
		return nil
	} else if t == timeType {
		return fmt.Errorf("a %s in an unexported field cannot be read", t)
	}
	w.h = appendNumber(w.h, 'r', uint64(t.NumField()))
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue
		}
		w.h = appendText(appendText(w.h, '.', f.Name), ':', typeName(f.Type))
		if err := w.value(v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// entries encodes a map in the order of its encoded entries.
func (w *walk) entries(v reflect.Value) error {
	start := len(w.h)
	var all [][]byte
	for it := v.MapRange(); it.Next(); {
		if err := w.value(it.Key()); err != nil {
			return err
		}
		if err := w.value(it.Value()); err != nil {
			return err
		}
		all = append(all, bytes.Clone(w.h[start:]))
		w.h = w.h[:start]
	}
	slices.SortFunc(all, bytes.Compare)
	w.h = appendNumber(w.h, 'm', uint64(len(all)))
	for _, e := range all {
		w.h = append(w.h, e...)
	}
	return nil
}
