package virtual

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/physical"
)

// How a Conn gets a physical connection, and how it gives it back when database/sql has the Conn back.

// held is a Conn's physical connection, and the state of its use. Without one, Conn is nil.
type held struct {
	physical.Lease
	control  bool    // it is kept until no transaction is open
	suspect  bool    // a transaction may have been left open
	wrote    bool    // it was the last to write, perhaps
	more     bool    // it has done more than read, one statement after the other: a transaction may be open
	rows     int     // open ones that keep the turn
	read     bool    // it has given rows outside of BeginTx's transactions, which may be open
	deferred bool    // engine.Deferrer's Defer was called, and Restore was not
	own      bool    // and the connection has stayed as the program has set it
	dirty    bool    // it has executed a statement since then that may have written
	resting  bool    // the pool may take it away: see Keep of package physical
	stmts    []*stmt // whose physical statements belong to it
}

// Count counts a statement.
func (c *Conn) Count() {
	if c.checkout.count() {
		c.kept()
	}
}

// kept is called when the pool that has c has kept it.
func (c *Conn) kept() {
	c.checkout.back = false
	if c.programs {
		c.base.Pool.Kept()
	}
}

// seated makes a use c's own.
func (c *Conn) seated(u physical.Use) physical.Use {
	if c.programs {
		u.Seat = &c.seat
	}
	return u
}

func (c *Conn) borrow(ctx context.Context) (err error) {
	if !c.awake() {
		return driver.ErrBadConn // database/sql takes another
	}
	if c.held.Conn != nil {
		return nil
	}
	defer func() { // also after a panic in a hook of the program's
		if c.held.Conn == nil {
			c.after(nil)
		}
	}()
	u := physical.Use{Writing: c.turn.has}
	if c.turn.has {
		u.Turn = connTurn{c}
	}
	c.held.Lease, err = c.base.Pool.Borrow(ctx, c.seated(u))
	return err
}

// BorrowForCall leases a physical connection for one call of c's that the host runs by itself, perhaps in another goroutine,
// while c waits for it. c does not hold the connection. EndCall ends the lease.
func (c *Conn) BorrowForCall(ctx context.Context, u physical.Use) (physical.Lease, error) {
	return c.base.Pool.Borrow(ctx, c.seated(u))
}

// Kept is the physical connection that c keeps while the program does not use c. busy says that a transaction is open on one.
func (c *Conn) Kept() (kept *physical.Conn, busy bool) {
	switch {
	case !c.awake(), c.held.Conn == nil:
		return nil, false
	case c.held.control && !c.held.Conn.Session.Idle():
		return nil, true
	}
	c.detach(true) // the borrower may prepare the same texts
	return c.held.Conn, false
}

// EndCall ends a lease of BorrowForCall after a call that gave err.
func (c *Conn) EndCall(l physical.Lease, err error, wrote bool) {
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	l.Done(err, wrote)
}

// release gives the physical connection back, unless it is tied to c.
func (c *Conn) release() {
	if c.held.Conn == nil {
		c.checkout.over()
		return
	}
	c.makeKnown()
	c.checkout.over()
	idle := !c.held.more || c.held.Conn.Session.Idle()
	c.tx.begun, c.held.rows = false, 0
	switch {
	case c.bound || c.held.control && !idle:
		c.after(nil)
		if c.programs && c.checkout.back && (idle || !c.held.control && !c.held.suspect) {
			c.detach(true)
			c.held.resting = c.base.Pool.Keep(&c.seat, c.held.Lease)
		}
	case !idle && (c.held.suspect || c.base.Writer != nil):
		c.discard()
	default:
		c.giveBack()
	}
}

// awake ends the rest of the connection that c keeps. False if that was taken away: c is then of no more use.
func (c *Conn) awake() bool {
	if !c.held.resting {
		return true
	}
	c.held.resting = false
	if c.base.Pool.StillKept(&c.seat) {
		return true
	}
	c.forget()
	return false
}

// makeKnown has a setting hold for every physical connection, if it was all that c was taken for: then it was made by
// db.Exec. On a sql.Conn, or in a transaction, it is that one's.
func (c *Conn) makeKnown() {
	u := &c.checkout
	if u.set == nil {
		return
	}
	if u.uses == 1 && !c.bad {
		c.held.Conn.Share(u.set)
		if u.onlyBy {
			c.bound = false
		}
	}
	u.set, u.onlyBy = nil, false
}

// giveBack ends the lease and the turn. The connection must be given back first where the turn guards it.
func (c *Conn) giveBack() {
	if !c.restore() {
		c.discard()
		return
	}
	c.detach(true)
	l, wrote := c.forget()
	l.GiveBack(wrote)
	c.turn.leave(c.base)
}

// discard closes the physical connection with whatever is open on it. The only one of a database that lives in it is
// rolled back instead, and kept if that helps.
func (c *Conn) discard() {
	if t := c.base.Traits.Load(); t.OneConn {
		if !c.held.Conn.Session.Idle() {
			fallback.Exec(context.Background(), c.held.Conn.Raw, "ROLLBACK", nil)
		}
		if c.held.Conn.Session.Idle() {
			c.giveBack()
			return
		}
	}
	c.detach(false)
	l, _ := c.forget()
	l.Discard()
	c.turn.leave(c.base)
}

// detach ends the use of all prepared statements of the physical connection.
func (c *Conn) detach(keep bool) {
	for _, s := range c.held.stmts {
		s.detach(keep)
	}
	clear(c.held.stmts)
	c.held.stmts = c.held.stmts[:0]
}

// forget forgets the lease, which the caller ends, and whether it has written.
func (c *Conn) forget() (l physical.Lease, wrote bool) {
	l, wrote = c.held.Lease, c.held.wrote
	c.tx.forget(&c.base.Readers)
	stmts := c.held.stmts[:0]
	clear(c.held.stmts)
	c.tx, c.held, c.checkout.set = openTx{}, held{stmts: stmts}, nil // the next checkout prepares, too, mostly
	return l, wrote
}
