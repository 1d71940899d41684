package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"
)

// A Lease is the use of a physical connection, until it is ended by one of its methods. It is copied freely; the zero value
// is no lease, and its Conn is nil.
type Lease struct {
	Conn   *Conn
	pooled *sql.Conn
	pool   *Pool
	since  time.Time       // when it left the inner pool
	ctx    context.Context // of a connection that is kept for its opener: the context of the caller that it was opened for
}

// SQL is the connection for the library's own statements.
func (l Lease) SQL() *sql.Conn { return l.pooled }

// GiveBack ends the lease. wrote says that the next writer is better off with this connection than with another.
func (l Lease) GiveBack(wrote bool) {
	p := l.pool
	if wrote && p.busy.Load() > 1 && p.Keeps() && !p.lent && time.Since(l.since) < warmFor {
		l = p.warm.put(l)
	}
	if l.pooled != nil {
		l.pooled.Close()
	}
	p.left() // after it has been kept, which those that left meanwhile could not know
}

// Discard ends the lease and closes the physical connection, and with it whatever was open on it.
func (l Lease) Discard() {
	l.drop()
	l.pool.left()
}

func (l Lease) drop() {
	l.pooled.Raw(func(any) error { return driver.ErrBadConn })
}

// Done ends the lease after a call that gave err.
func (l Lease) Done(err error, wrote bool) {
	if errors.Is(err, driver.ErrBadConn) {
		l.Discard()
	} else {
		l.GiveBack(wrote)
	}
}

// HandOver ends the lease of a caller that has opened the database, and keeps the connection for that caller's own
// use, which comes next. No other caller gets it: hooks have seen this caller's context. Where the number of connections is
// bounded it is given back: the caller's use may never come, or wait for a caller that waits for this very connection.
func (l Lease) HandOver(ctx context.Context) {
	p := l.pool
	if p.lent || p.Stats().MaxOpenConnections > 0 {
		l.GiveBack(false)
		return
	}
	l.ctx = ctx
	p.warm.add(l)
	p.busy.Add(-1)
}
