package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/groupcommit/groupcommit/internal/shares"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// Register makes a driver known to database/sql under name, and groups its Execs that can be grouped. It is sql.Register
// with options. Like sql.Register it panics if d is nil or the name is taken. It also panics if an option is not allowed.
//
//	groupcommit.Register("mysqlite-groupcommit", &sqlite3.SQLiteDriver{ConnectHook: hook})
//
// d may be a wrapper around a driver, such as a tracer. The engine is found by the connection inside, and the wrapper sees each
// call: docs/differences.md says more. A wrapper around our driver costs less.
//
// Packages sqlite3 and pgx register "sqlite3-groupcommit" and "pgx-groupcommit" when they are imported.
func Register(name string, d driver.Driver, opts ...Option) {
	if d == nil {
		panic(fmt.Sprintf("groupcommit: Register %q: the driver is nil", name))
	}
	if slices.Contains(sql.Drivers(), name) {
		panic(fmt.Sprintf("groupcommit: Register %q: the name is taken; sql.Drivers() lists those that are", name))
	}
	l, err := defaults.with(opts)
	if err != nil {
		panic(fmt.Sprintf("groupcommit: Register %q: %v", name, err))
	}
	sql.Register(name, newDriver(d, l))
}

// Driver is a wrapped driver. db.Driver() returns one for a database of ours; Unwrap returns the driver inside. The zero
// value is not usable.
type Driver struct {
	parent driver.Driver
	limits limits
	opened *shares.Shares[*database] // by data source name, of the connections that Open has opened
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
)

func newDriver(parent driver.Driver, l limits) *Driver {
	d := &Driver{parent: parent, limits: l}
	d.opened = &shares.Shares[*database]{Make: d.openDatabase, Keep: (*database).forsaken, Ask: askPools, End: (*database).close}
	return d
}

// Open opens a connection by itself, for code that does without database/sql's connectors, as some wrappers do. The
// connections of one name share a database, with its groups, also if they are of several sql.DBs. They do not share a database
// in memory without a name, of which each connection has its own on SQLite.
//
// When the last of the connections is closed, the physical ones are, too. The database is closed some seconds later, unless a
// sql.DB that a function of this package has been called with is still open.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	for {
		s, err := d.opened.Take(dsn)
		if err != nil {
			return nil, err
		}
		if c, err := openOn(s); c != nil || err != nil {
			return c, err
		}
	}
}

// openOn opens a connection of a shared database; nil if the database belongs to another connection.
func openOn(s *shares.Share[*database]) (c driver.Conn, err error) {
	defer func() { // also after a panic in a hook of the program's
		if c == nil {
			s.Leave()
		}
	}()
	t, err := s.Value.ready(context.Background()) // the plain driver's Open opens the database, too
	if err != nil {
		return nil, err
	}
	if t.OneConn && t.WriterKey == "" && !s.Own() {
		return nil, nil
	}
	return &openedConn{Conn: s.Value.connect(), leave: sync.OnceValue(s.Leave)}, nil
}

func (d *Driver) openDatabase(dsn string) (*database, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return c.(*Connector).db, nil
}

// OpenConnector takes our options out of dsn and hands the rest to the wrapped driver. That driver reports errors in its
// part when it would without us: here, if its own OpenConnector reads the name, or else at the first connection.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	rest, opts, err := splitDSN(dsn)
	if err != nil {
		return nil, err
	}
	l, err := d.limits.with(opts)
	if err != nil {
		return nil, err
	}
	var parent driver.Connector = dsnConnector{rest, d.parent}
	if dc, ok := d.parent.(driver.DriverContext); ok {
		if parent, err = dc.OpenConnector(rest); err != nil {
			return nil, err
		}
	}
	return &Connector{db: newDatabase(parent, rest, l), driver: d}, nil
}

// Unwrap returns the driver that d wraps.
func (d *Driver) Unwrap() driver.Driver { return d.parent }

// dsnConnector is the connector that database/sql makes for a driver without OpenConnector.
type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }

// Connector opens the cheap connections that database/sql pools, and owns the physical ones. The zero value is not usable.
type Connector struct {
	db     *database
	driver *Driver
}

var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
)

// NewConnector wraps a connector, for sql.OpenDB. Options must be given in code: only [Register]'s drivers look for them in
// a name.
//
// The connector is for one sql.DB, whose Close closes it.
func NewConnector(c driver.Connector, opts ...Option) (*Connector, error) {
	if c == nil {
		return nil, fmt.Errorf("groupcommit: NewConnector: the connector is nil")
	}
	l, err := defaults.with(opts)
	if err != nil {
		return nil, err
	}
	return &Connector{db: newDatabase(c, "", l), driver: newDriver(c.Driver(), l)}, nil
}

// Connect returns a connection without any I/O. The first use of a connection opens a physical one.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.db.connect(), nil
}

// Driver returns a [*Driver].
func (c *Connector) Driver() driver.Driver { return c.driver }

// Close refuses new calls, waits until every accepted call has been committed and answered, and closes the physical
// connections. If one is still in use, by open rows or a transaction, it is closed when it comes back. db.Close calls Close.
func (c *Connector) Close() error { return c.db.close() }

// openedConn is a connection of Driver.Open.
type openedConn struct {
	*virtual.Conn
	leave func() error // once, however often a wrapper closes
}

func (c *openedConn) Close() error { return errors.Join(c.Conn.Close(), c.leave()) }
