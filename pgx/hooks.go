package pgx

import (
	"database/sql/driver"
	"reflect"
	"runtime"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// hooks are the functions that a connector calls with a connection each time before the connection is used. pgx has no
// method that tells them. They are read from stdlib's own types; if those types change, no hook is found.
//
// BeforeConnect and AfterConnect do not count: they run once a connection, for all its later users.
type hooks struct {
	name   string // of a hook that gets the caller's context; "" if there is none
	pooled bool   // the connections are a pgxpool's
}

// hooksOf looks at the connector, and at the connection that it has opened, in case a wrapper hides it.
func hooksOf(c driver.Connector, conn *stdlib.Conn) (h hooks) {
	std, known := stdConnector(reflect.ValueOf(c), 0)
	if known {
		h = ofPool(std.FieldByName("pool"))
	} else if stdlibs(reflect.ValueOf(conn).Elem().FieldByName("close")) { // a connection that is not a pool's has pgx's
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

// isSet reports that a hook is the program's, and not stdlib's placeholder.
func isSet(f reflect.Value) bool {
	return f.IsValid() && f.Kind() == reflect.Func && !f.IsNil() && !stdlibs(f)
}

// stdlibs reports that a function stands in stdlib's file. Its name tells less, because the compiler may inline it
// elsewhere.
func stdlibs(f reflect.Value) bool {
	return f.IsValid() && f.Kind() == reflect.Func && !f.IsNil() && fileOf(f) == stdlibFile
}

var stdlibFile = fileOf(reflect.ValueOf(stdlib.GetConnector))

func fileOf(f reflect.Value) string {
	file, _ := runtime.FuncForPC(f.Pointer()).FileLine(f.Pointer())
	return file
}
