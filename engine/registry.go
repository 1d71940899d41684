package engine

import (
	"database/sql/driver"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/groupcommit/groupcommit/internal/unwrap"
)

var engines struct {
	mu    sync.RWMutex
	match []func(driver.Conn) Engine
}

// Register makes an engine known to groupcommit.Register and groupcommit.NewConnector, which choose by the physical
// connection. match returns an engine for one database, or nil if the connection is not of its kind. An init function of the
// engine's package calls Register.
//
// match sees the connection that the wrapped driver returned. If no engine takes that, match sees the connection inside it:
// what the method Raw, Unwrap or WrappedConn returns, or the one driver.Conn in the fields of a struct.
func Register(match func(driver.Conn) Engine) {
	if match == nil {
		panic("groupcommit: RegisterEngine: match is nil; a function is needed")
	}
	engines.mu.Lock()
	defer engines.mu.Unlock()
	engines.match = append(engines.match, match)
}

// Find returns the engine for a connection, which a connector has opened: a registered one, or the one for any driver. The
// latter is logged if another one should serve.
func Find(conn driver.Conn, from driver.Connector) Engine {
	if found, ok := unwrap.Find(conn, func(c driver.Conn) bool { return matching(c) != nil }); ok {
		return matching(found)
	}
	warnOfNone(conn, from)
	return anyDriver{}
}

func matching(conn driver.Conn) Engine {
	engines.mu.RLock()
	defer engines.mu.RUnlock()
	for _, match := range engines.match {
		if e := match(conn); e != nil {
			return e
		}
	}
	return nil
}

// Unwrapped returns the first connection of type C in conn or inside its wrappers. See [Register] for how it looks.
func Unwrapped[C driver.Conn](conn driver.Conn) (C, bool) {
	found, _ := unwrap.Find(conn, func(c driver.Conn) bool { _, ok := c.(C); return ok })
	c, ok := found.(C)
	return c, ok
}

// adapters are the packages of the drivers for which the library has an engine, and the packages of the engines. Package
// engine imports neither.
var adapters = map[string]string{
	"github.com/mattn/go-sqlite3":    "github.com/groupcommit/groupcommit/sqlite3",
	"github.com/jackc/pgx/v5/stdlib": "github.com/groupcommit/groupcommit/pgx",
}

var warned sync.Map // of types of connections

// warnOfNone logs, once for a type of connections, that a driver has an engine and its connections do not get it: the engine is
// not imported, or a wrapper hides the connections.
func warnOfNone(conn driver.Conn, from driver.Connector) {
	var adapter string
	imported := true
	if _, ok := unwrap.Find(conn, func(c driver.Conn) bool { adapter = adapterOf(c); return adapter != "" }); ok {
		imported = false
	} else if _, ok := unwrap.Driver(from, func(d driver.Driver) bool { adapter = adapterOf(d); return adapter != "" }); !ok {
		return
	}
	if _, known := warned.LoadOrStore(reflect.TypeOf(conn), true); known {
		return
	}
	const general = "groupcommit: groups take the general way of any driver, which is slower: "
	if imported {
		applog.Write(slog.LevelWarn, general+"the wrapper around the driver's connections does not show them; put it around groupcommit's driver instead, or give its connections the method Raw() driver.Conn",
			"wrapper", fmt.Sprintf("%T", conn))
	} else {
		applog.Write(slog.LevelWarn, general+"the driver's own engine is not imported", "driver", fmt.Sprintf("%T", conn), "import", adapter)
	}
}

// adapterOf returns the package of the engine for a connection or a driver; "" if the library has none.
func adapterOf(v any) string {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return adapters[t.PkgPath()]
}
