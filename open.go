package groupcommit

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"

	"github.com/groupcommit/groupcommit/internal/unwrap"
)

const (
	suffix       = "-groupcommit" // ends the names that this repository's packages register
	openPhysical = 32             // the bound of a database that Open opens
)

// Open is [sql.Open] with options in code, for those that no data source name can hold: [OnGroup], [Partition], [Retry]. Like sql.Open
// it does no I/O: a server that cannot be reached is an error of the first use, or of db.Ping.
//
// name is a driver's that is registered, the plain one's or ours: with package sqlite3 imported, "sqlite3" and
// "sqlite3-groupcommit" are the same here. Another driver is wrapped as [Register] would, but is not registered; it is an error if it is
// itself a wrapper around one of ours. Options override those
// that our driver was registered with, and options in dsn override both.
//
// The pool is set up for many goroutines: it has as many connections as there are callers, which cost no I/O, and keeps
// them. There are at most 32 physical connections below, unless [Physical] says otherwise, in code or
// in dsn. The caller may change all of that by the methods of [sql.DB]. With that bound, as with
// SetMaxOpenConns(32) on the plain driver, 32 goroutines that each keep a transaction or rows open and wait for another connection wait
// until one of them gives up: give their calls contexts that end, or a larger bound.
func Open(name, dsn string, opts ...Option) (*sql.DB, error) {
	db, err := open(name, dsn, opts)
	if err != nil {
		return nil, fmt.Errorf("groupcommit: Open %q: %w", name, err)
	}
	return db, nil
}

func open(name, dsn string, opts []Option) (*sql.DB, error) {
	d, err := driverOf(name, dsn)
	if err != nil {
		return nil, err
	}
	l := d.limits
	if l.physical == 0 {
		l.physical = openPhysical
	}
	if l, err = l.with(opts); err != nil {
		return nil, err
	}
	c, err := newDriver(d.parent, l).OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(math.MaxInt32)
	below := c.(*Connector).db.Pool
	below.Learn(db)
	below.Kept() // without that each of the first callers opens a connection of its own, and no other may use it
	return db, nil
}

// driverOf returns our driver of a registered name. database/sql gives a driver away only with a database, so one is opened, which does
// no I/O, and closed.
func driverOf(name, dsn string) (*Driver, error) {
	if slices.Contains(sql.Drivers(), name+suffix) {
		name += suffix
	}
	rest, _, err := splitDSN(dsn) // a plain driver may refuse a name with our options
	if err != nil {
		return nil, err
	}
	db, err := sql.Open(name, rest)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	d := db.Driver()
	if ours, ok := d.(*Driver); ok {
		return ours, nil
	}
	if _, ok := unwrap.Find(d, func(d driver.Driver) bool { _, ours := d.(*Driver); return ours }); ok {
		return nil, fmt.Errorf("driver %T is a wrapper around one of groupcommit's, which would be wrapped again; a driver without the wrapper is needed, or sql.Open and options of Register", d)
	}
	return newDriver(d, defaults), nil
}
