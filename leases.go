package groupcommit

import (
	"context"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/physical"
)

// How a conn gets a physical connection, and what becomes of it when database/sql has the conn back.

// manyUses is for how many statements in a row a conn has to be used for the program's pool to be taken for one that keeps
// conns, where a wrapper above us does not show what that pool does.
const manyUses = 16

// count counts a statement.
func (c *conn) count() {
	if c.uses++; c.back || c.uses == manyUses {
		c.used()
	}
}

// used is called when the program's pool has kept c.
func (c *conn) used() {
	c.back = false
	if c.programs {
		c.db.pool.MayKeep()
	}
}

func (c *conn) borrow(ctx context.Context) (err error) {
	if c.lease.Conn != nil {
		return nil
	}
	if l, ok := c.db.pool.TakeRetained(c); ok {
		c.lease = l
		return nil
	}
	defer func() { // also of a panic, in a hook of the program's
		if c.lease.Conn == nil {
			c.after(nil)
		}
	}()
	c.lease, err = c.db.pool.Borrow(ctx, c.hasTurn)
	return err
}

// release gives the physical connection back, unless something ties it to c.
func (c *conn) release() {
	if c.lease.Conn == nil {
		c.uses = 0
		return
	}
	c.makeKnown()
	c.uses = 0
	idle := c.lease.Conn.Session.Idle()
	c.inTx, c.rows = false, 0
	switch {
	case c.bound || c.control && !idle:
		c.after(nil)
		return
	case !idle && (c.suspect || c.db.writer != nil):
		c.discard()
		return
	case c.retains():
		for _, s := range c.stmts {
			s.detach(true)
		}
		l := c.forgetLease()
		l.conn.leaveTurn()
		c.db.pool.Retain(c, l.lease)
		return
	}
	c.giveBack()
}

// retains reports that it is not known whether the program's pool keeps c: its lease is then over, and kept for its next use.
func (c *conn) retains() bool { return c.programs && !c.db.pool.Keeps() }

// makeKnown has a setting hold for every physical connection, if it was all that c was taken for: then it was made by
// db.Exec. On a sql.Conn, or in a transaction, it is that one's.
func (c *conn) makeKnown() {
	if c.set == nil {
		return
	}
	if c.uses == 1 && !c.bad {
		c.lease.Conn.Share(c.set)
		if c.onlyBy {
			c.bound = false
		}
	}
	c.set, c.onlyBy = nil, false
}

func (c *conn) giveBack() {
	for _, s := range c.stmts {
		s.detach(true)
	}
	c.forgetLease().giveBack()
}

// discard closes the physical connection with whatever is open on it. The only one of a database that lives in it is
// rolled back instead, and kept if that helps.
func (c *conn) discard() {
	if t := c.db.traits.Load(); t.OneConn {
		if !c.lease.Conn.Session.Idle() {
			fallback.Exec(context.Background(), c.lease.Conn.Raw, "ROLLBACK", nil)
		}
		if c.lease.Conn.Session.Idle() {
			c.giveBack()
			return
		}
	}
	for _, s := range c.stmts {
		s.detach(false)
	}
	c.forgetLease().discard()
}

// forgetLease ends the lease and the turn. The connection must be given back first where the turn guards it.
func (c *conn) forgetLease() endedLease {
	c.forgetTx()
	l := endedLease{c, c.lease, c.wrote}
	c.stmts, c.lease, c.set = nil, physical.Lease{}, nil
	c.control, c.suspect, c.inTx, c.altered, c.rows, c.wrote = false, false, false, false, 0, false
	return l
}

type endedLease struct {
	conn  *conn
	lease physical.Lease
	wrote bool
}

func (l endedLease) giveBack() { l.lease.GiveBack(l.wrote); l.conn.leaveTurn() }
func (l endedLease) discard()  { l.lease.Discard(); l.conn.leaveTurn() }
