// Package physical holds the physical connections of one database, which the wrapped driver has opened. It does not know
// groups, promises, or how the pooled connections of the program work.
package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
)

// A Pool holds the physical connections of one database. The program's own pool, an sql.DB of virtual connections, is the
// truth about how many there may be, and for how long:
//
//   - There are never more connections than seats, which are the program's virtual connections (see Seat). One alone may be
//     open without a seat. What is above that is closed, at once if it is idle. So each setting of the program's pool means
//     below what it means above. Most, and a server that refuses, bound the number further.
//   - A borrower gets an idle connection, or opens one if there is room, or waits: see waiter. It opens in its own goroutine,
//     under its own context: hooks of the program's see that.
//   - A borrower that has no seat (a group of promises, a handler) takes part in the program's pool when there are not enough:
//     see ask.
//
// Those that have a connection, or wait for one, cannot be waiting for each other because of the seats: a virtual connection
// has its own seat, and holds one connection at the most. A call that waits in a queue for its group holds none. And no
// borrower waits for a connection while it has the writer's turn: see Turn.
//
// The next borrower gets the connection that was used last. So a program that does one thing at a time has one connection,
// as on the plain driver, with whatever it, a hook or a PRAGMA has put there. Beside others the connection that wrote last
// should be the one to write next: its page cache is that of the database as it is, and its statements are prepared. So
// while others are at work a borrower that writes takes that one, and a reader leaves it as long as there is another.
//
// Rejected: a second pool for the groups. A program with one connection then has two, and what the one knows (a temporary
// table, an attached database, a setting, the schema that has just been changed) the other does not. Rejected: an inner
// sql.DB. It has limits of its own, and costs each query a quarter.
type Pool struct {
	shared  *shared
	library *sql.DB                // see DB
	program atomic.Pointer[sql.DB] // the program's; nil while it is not known
	keeps   atomic.Bool            // the program's pool has been seen to keep a connection: see reserve

	lent       bool // connections are another pool's; written once, with openWrites
	openWrites bool // a connection is opened in the writer's turn, which a borrower that will write has; written once

	mu      sync.Mutex // guards the rest; held for some lines, never during a call of the driver's
	seats   seats
	idle    []*Conn // the one that was used last is the last
	open    int     // connections, with those that are being opened or closed
	closing int     // of these, the ones that are being closed
	inUse   int     // of these, the ones that are leased or being opened
	putOff  int     // of these, the ones for calls that were put off
	most    int     // what the program allows; 0: as many as there are seats
	refusal refusal
	waiting queue
	single  bool // the database lives in one connection
	least   int  // how many may be kept without seats
	closed  bool
	counted sql.DBStats // what only grows
}

// errClosed has the text of database/sql's error.
var errClosed = errors.New("sql: database is closed")

// New makes a pool. It opens no connection.
func New(c Config) *Pool {
	p := &Pool{shared: &shared{config: c}, most: c.Most}
	p.library = sql.OpenDB(lending{p})
	p.library.SetMaxIdleConns(-1)
	return p
}

// What is learned of the database from its first connection, before there is a second one.

// OpenInTurn says that a new connection may write while it is being opened, and is opened in the writer's turn.
func (p *Pool) OpenInTurn() { p.openWrites = true }

// KeepNone makes the pool keep no connection, whatever the program's own pool keeps. Each connection belongs to another
// pool, whose hooks must see the caller for which it is taken.
func (p *Pool) KeepNone() { p.lent = true }

// OnlyOne makes the pool keep to its one connection, in which the database lives, whatever the program's pool keeps.
func (p *Pool) OnlyOne() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.single, p.most, p.least = true, 1, 1
}

// A Use says what a connection is borrowed for.
type Use struct {
	For     Purpose
	Writing bool  // the borrower will write, and has the writer's turn, if there is such a thing
	Turn    Turn  // that turn; nil if there is none
	Seat    *Seat // of the virtual connection that borrows; nil if it is none of the program's
}

// Purpose is what a connection is for, where that decides which of those that wait comes first.
type Purpose uint8

const (
	Program Purpose = iota // a query, a transaction, a call of the program's
	Group                  // a group, which many callers wait for
	PutOff                 // a call that its group has put off, perhaps because it waits for a lock
)

// badConnTries is how often a borrower tries again after a stale connection. It is database/sql's own number, and as there
// the last try uses a new connection.
const badConnTries = 2

// Borrow waits for a connection, under the context of the caller that needs it. A stale connection is replaced.
func (p *Pool) Borrow(ctx context.Context, u Use) (Lease, error) {
	for try := 0; ; try++ {
		l, err := p.borrow(ctx, u, try == badConnTries)
		if err == nil || try == badConnTries || !errors.Is(err, driver.ErrBadConn) {
			return l, err
		}
	}
}

// borrow tries once. fresh asks for a new connection.
func (p *Pool) borrow(ctx context.Context, u Use, fresh bool) (Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Lease{}, err
		}
		g, err := p.acquire(ctx, u, fresh)
		if err != nil {
			return Lease{}, err
		}
		if g.conn != nil {
			return p.reuse(ctx, u, g)
		}
		l, err := p.openFor(ctx, u, g)
		if err != errRefused {
			return l, err
		}
	}
}

// acquire waits until it is the borrower's turn.
func (p *Pool) acquire(ctx context.Context, u Use, fresh bool) (grant, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return grant{}, errClosed
	}
	db := p.program.Load()
	ask := db != nil && p.wantsSeats()
	if g, ok := p.grant(ctx, u, fresh, ask); ok {
		p.mu.Unlock()
		return g, nil
	}
	w := p.enqueue(ctx, u, fresh, ask)
	p.mu.Unlock()
	if ask {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go p.ask(ctx, db, w)
	}
	if u.Turn == nil {
		return p.wait(ctx, w)
	}
	u.Turn.Yield()
	g, err := p.wait(ctx, w)
	if err != nil {
		return grant{}, err
	}
	if err := u.Turn.Regain(ctx); err != nil {
		p.decline(w)
		return grant{}, err
	}
	return g, nil
}

// reuse makes an idle connection ready for the borrower.
func (p *Pool) reuse(ctx context.Context, u Use, g grant) (l Lease, err error) {
	l = p.lease(u, g)
	c := l.Conn
	ready := false
	defer func() { // also after a panic in a hook of the program's
		if !ready {
			l.Discard()
			l = Lease{}
		}
	}()
	c.dropClosed()
	reset := c.ResetSession
	if g.lent != nil { // which keeps its connection
		reset = c.Reset
	}
	if err := reset(ctx); errors.Is(err, driver.ErrBadConn) { // database/sql minds no other error
		return l, err
	}
	ready = true
	return l.set()
}

func (p *Pool) lease(u Use, g grant) Lease {
	return Lease{Conn: g.conn, pool: p, seat: u.Seat, stand: g.stand, lent: g.lent, purpose: u.For}
}

// set ends the lease of a connection that does not have the program's settings.
func (l Lease) set() (Lease, error) {
	if err := l.Conn.Unset(); err != nil {
		l.GiveBack(false)
		return Lease{}, err
	}
	return l, nil
}

// openFor opens a connection for which there is room.
func (p *Pool) openFor(ctx context.Context, u Use, g grant) (l Lease, err error) {
	defer func() { // also after a panic in a hook of the program's
		if l.Conn == nil {
			g.stand.close()
		}
	}()
	var c *Conn
	defer func() {
		if c == nil && p.opened(u, &err) {
			err = errRefused
		}
	}()
	if g.replaced != nil {
		g.replaced.Close()
	}
	if u.Writing && p.openWrites {
		ctx = context.WithValue(ctx, inTurnKey{}, true)
	}
	if c, err = p.shared.connect(ctx); err != nil {
		return Lease{}, err
	}
	p.opened(u, nil)
	g.conn = c
	return p.lease(u, g).set()
}

// opened is called when the opening of a connection is over. failed is its error; nil if there is none. opened reports
// that the server has no room for the connection, so that the borrower should wait for another.
func (p *Pool) opened(u Use, failed *error) (refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed == nil {
		p.refusal.extend(p.open - p.closing)
	} else {
		p.open--
		p.unused(u.For)
		refused = p.refused(*failed)
	}
	p.serve()
	return refused
}

// Aside opens a connection that is not the pool's, for a borrower that has one already. The borrower closes it.
func (p *Pool) Aside(ctx context.Context) (*Conn, error) {
	return p.shared.connect(context.WithValue(ctx, inTurnKey{}, true)) // the borrower may have the turn
}

// StmtOpened is called where the driver uses statements by their text, when the program has prepared one.
func (p *Pool) StmtOpened(query string) { p.shared.stmts.open(query) }

// StmtClosed is called when the program has closed a statement. It reports whether there is still another one of the text.
func (p *Pool) StmtClosed(query string) (another bool) { return p.shared.stmts.close(query) }

// Renew marks all open connections as stale: none of them is used again.
func (p *Pool) Renew() { p.shared.generation.Add(1) }

// Drain lets one connection be kept without a seat: the program has closed its pool, and groups are still to be committed.
func (p *Pool) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.least = 1
}

// Close closes the idle connections. Those in use are closed when they come back. Borrowers that wait get an error.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.refusal.stop()
	p.waiting.fail(func(*waiter) error { return errClosed })
	idle := p.idle
	p.idle = nil
	p.closing += len(idle)
	p.mu.Unlock()
	return errors.Join(p.close(idle...), p.library.Close())
}

// Stats are those of an sql.DB.
func (p *Pool) Stats() sql.DBStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.counted
	s.MaxOpenConnections = p.most
	s.OpenConnections = p.open
	s.Idle = len(p.idle)
	s.InUse = p.open - len(p.idle)
	return s
}
