// Package unwrap looks into wrappers around a value of database/sql's driver interfaces, such as those of tracers.
package unwrap

import (
	"database/sql/driver"
	"reflect"
)

// most bounds how many values a search looks at. A wrapper may give itself, and structs may point at each other.
const most = 64

// Find returns the first T that accept takes: v, or else what v wraps, and so on. T is an interface of package driver.
//
// What v wraps is what its method Raw, Unwrap or WrappedConn returns. Without such a method it is the T in v's fields, exported
// or not, and in those of the structs that v embeds. If there are several, each must lead to the same T. If not, it cannot be
// known which of them a statement would go to, and nothing is found.
func Find[T any](v T, accept func(T) bool) (found T, ok bool) {
	s := search[T]{accept: accept, left: most}
	return s.find(v)
}

type search[T any] struct {
	accept func(T) bool
	left   int // values to look at
}

func (s *search[T]) find(v T) (found T, ok bool) {
	if s.left--; s.left < 0 || isNil(reflect.ValueOf(v)) {
		return found, false
	}
	if s.accept(v) {
		return v, true
	}
	switch w := any(v).(type) {
	case interface{ Raw() T }:
		return s.find(w.Raw())
	case interface{ Unwrap() T }:
		return s.find(w.Unwrap())
	case interface{ WrappedConn() T }:
		return s.find(w.WrappedConn())
	}
	for i, inner := range s.within(nil, reflect.ValueOf(v)) {
		f, ok := s.find(inner)
		if !ok || i > 0 && !same(f, found) {
			var none T
			return none, false
		}
		found = f
	}
	return found, !isNil(reflect.ValueOf(found))
}

// within appends the Ts in the fields of a struct, or of the struct that a pointer points to.
func (s *search[T]) within(ts []T, v reflect.Value) []T {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if s.left--; s.left < 0 || v.Kind() != reflect.Struct {
		return ts
	}
	if !v.CanAddr() { // only a field that has an address can be read if it is not exported
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		v = c
	}
	for i := range v.NumField() {
		f := v.Field(i)
		f = reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
		switch { // by its type: the wrapper may be writing to its other fields
		case f.Kind() == reflect.Struct && f.Addr().Type().Implements(reflect.TypeFor[T]()): // itself, and no copy of it
			ts = append(ts, f.Addr().Interface().(T))
		case f.Type().Implements(reflect.TypeFor[T]()):
			if !isNil(f) {
				ts = append(ts, f.Interface().(T))
			}
		case v.Type().Field(i).Anonymous:
			ts = s.within(ts, f)
		}
	}
	return ts
}

// Within returns the T in the fields of the struct that v points to, if there is one.
func Within[T any](v any) (t T, ok bool) {
	s := search[T]{left: most}
	ts := s.within(nil, reflect.ValueOf(v))
	if len(ts) != 1 {
		return t, false
	}
	return ts[0], true
}

// isNil reports that there is no value, or a pointer or the like that is nil.
func isNil(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Interface:
		return isNil(v.Elem())
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Slice:
		return v.IsNil()
	}
	return false
}

func same[T any](a, b T) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && any(a) == any(b)
}

// Driver returns the first driver that accept takes: the connector's, that of a connector inside it, or one inside these.
func Driver(c driver.Connector, accept func(driver.Driver) bool) (found driver.Driver, ok bool) {
	if c == nil {
		return nil, false
	}
	Find(c, func(c driver.Connector) bool {
		found, ok = Find(c.Driver(), accept)
		return ok
	})
	return found, ok
}
