package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
)

// A Lease is the use of a physical connection, until it is ended by one of its methods. It is copied freely; the zero value
// is no lease, and its Conn is nil.
type Lease struct {
	Conn    *Conn
	pool    *Pool
	seat    *Seat // of the virtual connection that has it; nil if it is none of the program's
	stand   *stand
	lent    *sql.Conn // of the stand, which keeps the connection; nil of most
	purpose Purpose
}

// GiveBack ends the lease. wrote says that the next writer is better off with this connection than with another.
func (l Lease) GiveBack(wrote bool) { l.end(l.Conn.IsValid(), wrote, nil) }

// Discard ends the lease and closes the physical connection, and with it whatever was open on it.
func (l Lease) Discard() { l.end(false, false, nil) }

// Done ends the lease after a call that gave err.
func (l Lease) Done(err error, wrote bool) {
	if errors.Is(err, driver.ErrBadConn) {
		l.Discard()
	} else {
		l.GiveBack(wrote)
	}
}

// HandOver ends the lease of a caller that has opened the database, and keeps the connection for that caller's own use,
// which comes next: see reserve.
func (l Lease) HandOver(ctx context.Context) { l.end(l.Conn.IsValid(), false, ctx) }

// end gives the connection back before what stands for it in the program's pool: that pool is never to count fewer.
func (l Lease) end(valid, wrote bool, opener context.Context) {
	p, seat := l.pool, l.seat
	if l.lent != nil {
		if !valid {
			l.lent.Raw(func(any) error { return driver.ErrBadConn }) // which has it closed
		}
		l.stand.close()
		return
	}
	if seat == nil {
		p.look()
	}
	if l.stand == nil {
		p.put(l.Conn, l.purpose, seat, valid, wrote, opener)
		return
	}
	if seat == nil {
		seat = &l.stand.seat
	}
	p.put(l.Conn, l.purpose, seat, valid, wrote, opener)
	l.stand.close()
	p.look()
	p.dropFor(&l.stand.seat)
}

// Exchange closes the connection, which was lost, and opens another one in its place. After an error the lease is as it was.
// It is for a lease without the writer's turn. A connection that is lent is not exchanged: the stand keeps that one, and would
// never close the other.
func (l Lease) Exchange(ctx context.Context) (Lease, error) {
	if l.lent != nil {
		return l, driver.ErrBadConn
	}
	l.Conn.Close() // first: there may be room for one
	c, err := l.pool.shared.connect(ctx)
	if err != nil {
		return l, err
	}
	if err := c.Unset(); err != nil {
		c.Close()
		return l, err
	}
	l.Conn = c
	return l, nil
}

// same reports that two contexts are one.
func same(a, b context.Context) bool { return reflect.TypeOf(a).Comparable() && a == b }

// SQL is the connection for statements of the library's own, which is to close what SQL returns before the lease ends.
func (l Lease) SQL() *sql.DB {
	db := sql.OpenDB(leased{l})
	db.SetMaxOpenConns(1)
	return db
}

// DB is for statements of the library's own. It has no connection: each use borrows one.
func (p *Pool) DB() *sql.DB { return p.library }

// lending connects the library's own sql.DB with the pool, and leased with one connection of it.
type (
	lending struct{ pool *Pool }
	leased  struct{ lease Lease }
)

func (c lending) Connect(ctx context.Context) (driver.Conn, error) {
	turn, writing := ctx.Value(inTurnKey{}).(Turn)
	l, err := c.pool.Borrow(ctx, Use{Writing: writing, Turn: turn})
	if err != nil {
		return nil, err
	}
	return &libraryConn{Conn: l.Conn, end: func(bad bool) {
		if bad {
			l.Discard()
		} else {
			l.GiveBack(writing)
		}
	}}, nil
}

func (c leased) Connect(context.Context) (driver.Conn, error) {
	return &libraryConn{Conn: c.lease.Conn, end: func(bool) {}}, nil
}

func (c lending) Driver() driver.Driver { return c.pool.shared.config.Connector.Driver() }
func (c leased) Driver() driver.Driver  { return c.lease.pool.shared.config.Connector.Driver() }

// A libraryConn is a Conn as the library's own sql.DB has it.
type libraryConn struct {
	*Conn
	bad bool
	end func(bad bool)
}

func (c *libraryConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.Conn.ExecContext(ctx, query, args)
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	return res, err
}

func (c *libraryConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	return rows, err
}

func (c *libraryConn) ResetSession(context.Context) error { return nil }

func (c *libraryConn) Close() error {
	c.end(c.bad)
	return nil
}
