package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"slices"

	"github.com/groupcommit/groupcommit/internal/virtual"
)

// Register makes a driver known to database/sql under name, and groups its Execs that can be grouped. It is sql.Register
// with options. Like sql.Register it panics if d is nil or the name is taken. It also panics if an option is not allowed.
//
//	groupcommit.Register("mysqlite-groupcommit", &sqlite3.SQLiteDriver{ConnectHook: hook})
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
	sql.Register(name, &Driver{parent: d, limits: l})
}

// Driver is a wrapped driver. db.Driver() returns one for a database of ours; Unwrap returns the driver inside. The zero
// value is not usable.
type Driver struct {
	parent driver.Driver
	limits limits
	db     *database // of the connector that this Driver came from; nil for the registered one
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
)

// Open opens a single connection, with a new database behind it. database/sql calls OpenConnector instead.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return &ownConn{Conn: c.(*Connector).connect(), connector: c.(*Connector)}, nil
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
	return newConnector(parent, d.parent, rest, l), nil
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
	return newConnector(c, c.Driver(), "", l), nil
}

func newConnector(parent driver.Connector, d driver.Driver, dsn string, l limits) *Connector {
	db := newDatabase(parent, dsn, l)
	return &Connector{db: db, driver: &Driver{parent: d, limits: l, db: db}}
}

// Connect returns a connection without any I/O. The first use of a connection opens a physical one.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.connect(), nil
}

func (c *Connector) connect() *virtual.Conn { return virtual.New(c.db, &c.db.Base, true) }

// Driver returns a [*Driver] of this connector.
func (c *Connector) Driver() driver.Driver { return c.driver }

// Close refuses new calls, waits until every accepted call has been committed and answered, and closes the physical
// connections. If one is still in use, by open rows or a transaction, it is closed when it comes back. db.Close calls Close.
func (c *Connector) Close() error { return c.db.close() }

// ownConn is a connection that was opened by itself. It closes its database with it.
type ownConn struct {
	*virtual.Conn
	connector *Connector
}

func (c *ownConn) Close() error {
	err := c.Conn.Close()
	if cerr := c.connector.Close(); err == nil {
		err = cerr
	}
	return err
}
