package pgx

import (
	"database/sql/driver"
	"reflect"
	"runtime"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// hooks is what a connector does with a connection each time before it is used. pgx has no words for it: it is read from
// stdlib's own types, and where they are not what they were, nothing is found.
//
// BeforeConnect and AfterConnect are none: what they do is done once a connection, for all who use it later.
type hooks struct {
	name   string // of one that is given the context of the caller; "" if there is none
	pooled bool   // the connections are a pgxpool's
}

func (h hooks) traits() engine.Traits {
	t := traits
	t.Hook, t.Pooled = h.name, h.pooled
	return t
}

// hooksOf looks at the connector, and at what it has opened in case it is hidden in a wrapper.
func hooksOf(c driver.Connector, conn *stdlib.Conn) (h hooks) {
	std, known := stdConnector(reflect.ValueOf(c), 0)
	if known {
		h = ofPool(std.FieldByName("pool"))
	} else if stdlibs(reflect.ValueOf(conn).Elem().FieldByName("close")) { // that of a connection of its own is pgx's
		h = hooks{"a hook of the pgxpool, which cannot be seen,", true}
	}
	if h.name == "" && isSet(reflect.ValueOf(conn).Elem().FieldByName("resetSessionFunc")) {
		h.name = "OptionResetSession"
	}
	return h
}

// stdConnector finds stdlib's connector in c or in the wrappers around it.
func stdConnector(c reflect.Value, depth int) (reflect.Value, bool) {
	for c.Kind() == reflect.Interface || c.Kind() == reflect.Pointer {
		c = c.Elem()
	}
	if c.Kind() != reflect.Struct || depth > 4 {
		return c, false
	}
	if t := c.Type(); t.PkgPath() == stdlibPath && (t.Name() == "connector" || t.Name() == "driverConnector") {
		return c, true
	}
	for i := range c.NumField() {
		if f := c.Field(i); f.Type() == reflect.TypeFor[driver.Connector]() {
			if std, ok := stdConnector(f, depth+1); ok {
				return std, true
			}
		}
	}
	return c, false
}

var stdlibPath = reflect.TypeFor[stdlib.Conn]().PkgPath()

func ofPool(field reflect.Value) (h hooks) {
	if !field.IsValid() || field.Type() != reflect.TypeFor[*pgxpool.Pool]() || field.IsNil() {
		return h
	}
	h.pooled = true
	switch config := (*pgxpool.Pool)(field.UnsafePointer()).Config(); {
	case config.PrepareConn != nil:
		h.name = "PrepareConn"
	case config.BeforeAcquire != nil: //lint:ignore SA1019 programs have it
		h.name = "BeforeAcquire"
	}
	return h
}

// isSet reports that a hook is a program's, and not the one that stdlib puts where there is none.
func isSet(f reflect.Value) bool {
	return f.IsValid() && f.Kind() == reflect.Func && !f.IsNil() && !stdlibs(f)
}

// stdlibs reports that a function stands in stdlib's file: its name tells less, because the compiler may put it where it is used.
func stdlibs(f reflect.Value) bool {
	return f.IsValid() && f.Kind() == reflect.Func && !f.IsNil() && fileOf(f) == stdlibFile
}

var stdlibFile = fileOf(reflect.ValueOf(stdlib.GetConnector))

func fileOf(f reflect.Value) string {
	file, _ := runtime.FuncForPC(f.Pointer()).FileLine(f.Pointer())
	return file
}
