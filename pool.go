package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// A pool holds the physical connections of one database. It is an ordinary sql.DB over the wrapped connector: lifetimes,
// resets and the replacing of stale connections are database/sql's own, and who comes next gets the connection that was
// used last. So a program that does one thing at a time has one connection, as on the plain driver, with whatever it, a
// hook or a PRAGMA has put there.
//
// Beside others the connection that wrote last should be the one to write next: its page cache is that of the database as
// it is, and its statements are prepared. So while others are at work it is kept aside, warm, for the next writer. It goes
// back as soon as nobody is at work, and a reader takes it before a new one is opened.
//
// Rejected: a pool of the groups' own. A program with one connection then has two, and what the one knows (a temporary
// table, an attached database, a setting, the schema that has just been changed) the other does not.
type pool struct {
	*sql.DB
	busy  atomic.Int64 // those who have a connection, or wait for one
	kept  atomic.Int64 // len(warm)
	keeps atomic.Bool  // connections may be idle: see mayKeep

	lent       bool // connections are another pool's; written once, with openWrites
	openWrites bool // a connection is opened in the writer's turn, which those have who borrow for writing; written once

	mu       sync.Mutex // guards the rest
	spare    int        // connections that may be kept warm
	warm     []lease
	retained map[*conn]lease // of conns of which it is not known whether the program's pool keeps them
	watched  bool            // somebody will look for those that are kept for too long
}

// warmFor bounds how long a connection is kept from the inner pool, which looks after lifetimes.
const warmFor = time.Second

// idleConns is how many physical connections are kept for the next who needs one. database/sql's own default of 2 would
// open and close one for almost every query of a busy program.
const idleConns = 8

// newPool makes a pool that set, if it is not nil, sets up; otherwise no connection is idle in it before mayKeep.
func newPool(c driver.Connector, set func(*sql.DB)) *pool {
	p := &pool{DB: sql.OpenDB(c)}
	if set != nil {
		p.SetMaxIdleConns(idleConns)
		set(p.DB)
		p.keeps.Store(true)
	} else {
		p.SetMaxIdleConns(-1)
	}
	return p
}

// mayKeep is called when the program's own pool has kept a connection for its next use, and where that cannot be seen. A program whose pool keeps none, by
// SetMaxIdleConns(0), wants each use to open its own: over a pool of another library this is what gives connections back,
// and what tells that pool's hooks on whose behalf they are taken. Then none is idle here either.
func (p *pool) mayKeep() {
	if !p.keeps.Load() && p.keeps.CompareAndSwap(false, true) {
		p.SetMaxIdleConns(idleConns)
		p.mu.Lock()
		retained := p.retained
		p.retained = nil
		p.mu.Unlock()
		for _, l := range retained {
			l.giveBack(false)
		}
	}
}

// retain keeps a lease that is over for the next use of its conn, as long as it is not known whether the program's pool keeps
// that: if it does not, the connection is closed with it.
func (p *pool) retain(c *conn, l lease) {
	p.mu.Lock()
	known := p.keeps.Load()
	if !known {
		if p.retained == nil {
			p.retained = make(map[*conn]lease)
		}
		p.retained[c] = l
	}
	p.mu.Unlock()
	if known {
		l.giveBack(false)
	}
}

func (p *pool) takeRetained(c *conn) (l lease, ok bool) {
	if p.keeps.Load() {
		return lease{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok = p.retained[c]
	delete(p.retained, c)
	return l, ok
}

// keepNone has the pool keep nothing, whatever the program's own does: each connection is another pool's, whose hooks are to
// see on whose behalf it is taken.
func (p *pool) keepNone() {
	p.lent = true
	p.keeps.Store(true)
	p.SetMaxIdleConns(-1)
	p.keepWarm(0)
}

// keepWarm lets connections be kept for so many writers at a time. Where their number is bounded none is: somebody may be
// waiting for it.
func (p *pool) keepWarm(writers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Stats().MaxOpenConnections == 0 {
		p.spare = writers
	}
}

// onlyOne has the pool keep to its one connection, in which the database lives.
func (p *pool) onlyOne() {
	p.keeps.Store(true)
	p.SetMaxOpenConns(1)
	p.SetMaxIdleConns(1)
	p.SetConnMaxLifetime(0)
	p.SetConnMaxIdleTime(0)
}

// A lease is the use of a physical connection, until it is given back or discarded.
type lease struct {
	pooled *sql.Conn
	pool   *pool
	since  time.Time       // when it left the inner pool
	ctx    context.Context // of a connection that is kept for its opener: whom it was opened for
	*physical
}

// borrow waits for a connection, for writing or not, under the context of the caller that needs it: hooks of the user's see that. One that
// turns out to be stale is replaced.
func (p *pool) borrow(ctx context.Context, writing bool) (l lease, err error) {
	p.busy.Add(1)
	defer func() { // also of a panic, in a hook of the program's
		if l.physical == nil {
			p.left()
		}
	}()
	if p.kept.Load() > 0 && (writing || p.Stats().Idle == 0) {
		if l, ok := p.takeWarm(ctx); ok {
			return l, nil
		}
	}
	l = lease{pool: p, since: time.Now()}
	if writing && p.openWrites {
		ctx = inTurn(ctx)
	}
	if l.pooled, err = p.Conn(ctx); err != nil {
		return lease{}, err
	}
	var got *physical // and not a field of l, which would then have to be allocated
	err = l.pooled.Raw(func(dc any) error {
		got = dc.(*physical)
		got.dropClosed()
		return got.unset
	})
	if err != nil {
		l.pooled.Close()
		return lease{}, err
	}
	l.physical = got
	return l, nil
}

func (p *pool) takeWarm(ctx context.Context) (l lease, ok bool) {
	p.mu.Lock()
	if n := len(p.warm); n > 0 && (p.warm[n-1].ctx == nil || same(p.warm[n-1].ctx, ctx)) {
		l, ok = p.warm[n-1], true
		p.warm[n-1] = lease{}
		p.warm = p.warm[:n-1]
		p.kept.Add(-1)
	}
	p.mu.Unlock()
	if !ok {
		return l, false
	}
	l.ctx = nil
	l.dropClosed()
	if !l.physical.IsValid() || errors.Is(l.physical.ResetSession(ctx), driver.ErrBadConn) || l.physical.unset != nil {
		l.drop()
		return lease{}, false
	}
	return l, true
}

// left is called when one is no longer busy. The last one leaves nothing warm.
func (p *pool) left() {
	if p.busy.Add(-1) == 0 {
		p.cool()
	}
}

func (p *pool) cool() {
	if p.kept.Load() == 0 {
		return
	}
	p.mu.Lock()
	warm := p.warm
	p.warm = nil
	p.kept.Add(-int64(len(warm)))
	p.mu.Unlock()
	for _, l := range warm {
		l.pooled.Close()
	}
}

// watch has what is kept go back after warmFor also where somebody is busy for ever, with a connection of his own, and
// nobody else. The mutex is the caller's.
func (p *pool) watch() {
	if !p.watched {
		p.watched = true
		time.AfterFunc(warmFor, p.coolOld)
	}
}

func (p *pool) coolOld() {
	p.mu.Lock()
	var old, young []lease
	for _, l := range p.warm {
		if time.Since(l.since) < warmFor {
			young = append(young, l)
		} else {
			old = append(old, l)
		}
	}
	p.warm = young
	p.kept.Add(-int64(len(old)))
	p.watched = false
	if len(young) > 0 {
		p.watch()
	}
	p.mu.Unlock()
	for _, l := range old {
		l.pooled.Close()
	}
}

// Close closes the idle connections. Those in use are closed when they come back.
func (p *pool) Close() error {
	p.cool()
	return p.DB.Close()
}

// giveBack ends the lease. wrote says that the next writer is better off with this connection than with another.
func (l lease) giveBack(wrote bool) {
	p := l.pool
	if wrote && p.busy.Load() > 1 && p.keeps.Load() && !p.lent && time.Since(l.since) < warmFor {
		l = p.keep(l)
	}
	if l.pooled != nil {
		l.pooled.Close()
	}
	p.left() // after it has been kept, which those who left meanwhile could not know
}

// keep keeps a connection warm in the place of the one that was so for longest, and returns that, or none.
func (p *pool) keep(l lease) lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare == 0 {
		return l
	}
	p.warm = append(p.warm, l)
	p.watch()
	if len(p.warm) <= p.spare {
		p.kept.Add(1)
		return lease{}
	}
	l = p.warm[0]
	p.warm = append(p.warm[:0], p.warm[1:]...)
	return l
}

// discard closes the physical connection, and with it whatever was open on it.
func (l lease) discard() {
	l.drop()
	l.pool.left()
}

func (l lease) drop() {
	l.pooled.Raw(func(any) error { return driver.ErrBadConn })
}

// handOver ends the lease of who has opened the database for a caller, and keeps the connection for that caller's own
// use, which comes next. It is nobody else's: hooks have seen the caller's context. Where the number of connections is
// bounded it is given back: the caller's use may never come, or wait for somebody who waits for this very connection.
func (l lease) handOver(ctx context.Context) {
	p := l.pool
	if p.lent || p.Stats().MaxOpenConnections > 0 {
		l.giveBack(false)
		return
	}
	l.ctx = ctx
	p.mu.Lock()
	p.warm = append(p.warm, l)
	p.watch()
	p.kept.Add(1)
	p.mu.Unlock()
	p.busy.Add(-1)
}

// same reports that two contexts are one.
func same(a, b context.Context) bool { return reflect.TypeOf(a).Comparable() && a == b }

// done ends the lease after a call that gave err.
func (l lease) done(err error, wrote bool) {
	if errors.Is(err, driver.ErrBadConn) {
		l.discard()
	} else {
		l.giveBack(wrote)
	}
}
