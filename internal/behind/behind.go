// Package behind finds what stands behind a *sql.DB, and remembers it.
package behind

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"weak"

	"github.com/groupcommit/groupcommit/internal/unwrap"
)

// Connector returns the connector of type C that db opens its connections with, or the one inside of that. database/sql has no
// method that tells it. It is read from a private field of db, which database/sql writes once. If Go changed that field,
// nothing would be found, and TestAConnectorIsFoundInsideDatabaseSQL would fail.
func Connector[C driver.Connector](db *sql.DB) (c C, ok bool) {
	outer, ok := unwrap.Within[driver.Connector](db)
	if !ok {
		return c, false
	}
	found, _ := unwrap.Find(outer, func(c driver.Connector) bool { _, ok := c.(C); return ok })
	c, ok = found.(C)
	return c, ok
}

// Conn calls look with one of db's connections. It returns when ctx ends, also if a driver that opens a connection does not
// heed ctx.
func Conn(ctx context.Context, db *sql.DB, look func(driver.Conn)) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil { // in a hook of the program's
				done <- fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		done <- conn(ctx, db, look)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func conn(ctx context.Context, db *sql.DB, look func(driver.Conn)) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Raw(func(dc any) error {
		look(dc.(driver.Conn))
		return nil
	})
}

// A Memory is what is known to stand behind a *sql.DB. It keeps no *sql.DB from the garbage collector, and forgets those that
// are gone. The zero value is empty.
type Memory[V any] struct{ m sync.Map } // of V by weak.Pointer[sql.DB]

// Put remembers v in the place of what was known before.
func (m *Memory[V]) Put(db *sql.DB, v V) {
	key := weak.Make(db)
	if _, known := m.m.Swap(key, v); !known {
		runtime.AddCleanup(db, func(key weak.Pointer[sql.DB]) { m.m.Delete(key) }, key)
	}
}

func (m *Memory[V]) Get(db *sql.DB) (v V, ok bool) {
	known, ok := m.m.Load(weak.Make(db))
	if !ok {
		return v, false
	}
	return known.(V), true
}

// Each calls f with every *sql.DB and what stands behind it.
func (m *Memory[V]) Each(f func(*sql.DB, V)) {
	m.m.Range(func(key, v any) bool {
		if db := key.(weak.Pointer[sql.DB]).Value(); db != nil {
			f(db, v.(V))
		}
		return true
	})
}
