package virtual

import (
	"context"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// How a Conn takes the writer's turn, and when it gives it back.

// mayWrite takes the writer's turn for a statement that writes, or whose transaction probably will. A statement that begins
// a transaction by text does not need the turn yet.
func (c *Conn) mayWrite(ctx context.Context, traits *engine.Traits, t *sqltext.Text) (err error) {
	switch {
	case c.base.Writer == nil:
		return nil
	case traits.OneConn:
		return c.takeTurn(ctx)
	}
	inTx := c.transacting()
	if !inTx { // the one before may have ended by text
		c.tx.forget(&c.base.Readers)
	}
	if t.Tentative || t.Query == "" {
		return nil
	}
	defer func() {
		if err == nil { // after a wait in vain the statement has not been executed
			c.tx.executed = inTx
		}
	}()
	if t.Write {
		c.tx.writes(&c.base.Readers)
		return c.takeTurn(ctx)
	}
	if !inTx || c.tx.executed || c.turn.has || c.tx.readOnly {
		return nil
	}
	c.tx.first = t.Query
	yes, enough := c.base.Readers.Likely(t.Query)
	if yes {
		return nil
	}
	return c.turn.take(ctx, c.base, enough) // for a transaction that may write later, until enough is closed
}

// transacting reports that a transaction is open.
func (c *Conn) transacting() bool {
	return c.tx.begun || c.held.control && !c.held.Conn.Session.Idle()
}

// takeTurn takes the writer's turn, or makes sure of the one that c has. A transaction that has executed a statement without
// a turn, or has lost its turn, does not wait for one: it may hold a lock or a snapshot that the writer needs to be rid of.
// So the database must give the answer that it gives on the plain driver.
func (c *Conn) takeTurn(ctx context.Context) error {
	w := c.base.Writer
	if w == nil || c.turn.firm(w) {
		return nil
	}
	if c.tx.executed && c.transacting() {
		c.turn.takeFree(w)
		return nil
	}
	return c.turn.take(ctx, c.base, nil)
}

// connTurn is a Conn's turn while the Conn borrows.
type connTurn struct{ c *Conn }

func (t connTurn) Yield() { t.c.turn.leave(t.c.base) }
func (t connTurn) Regain(ctx context.Context) error {
	return t.c.turn.take(ctx, t.c.base, t.c.turn.enough)
}

// after a statement, the turn ends if nothing that was begun is still open.
func (c *Conn) after(t *sqltext.Text) {
	if t != nil && (t.Schema || t.Class == sqltext.Control) {
		c.tx.altered = c.tx.altered || t.Schema // and a rollback may take it back
		c.alteredNow()
		c.base.Texts.Forget()
	}
	if c.held.deferred && c.held.rows == 0 {
		if c.held.Conn.Session.Idle() { // also where a statement has ended BeginTx's transaction
			c.restoreAndGiveBack()
		} else if t != nil && commitsWithin(t) {
			c.unsettled = c.base.Traits.Load().Durable
		}
	}
	if !c.turn.has || c.tx.begun || c.held.rows > 0 {
		return
	}
	switch {
	case c.held.Conn == nil:
		c.turn.leave(c.base)
	case !c.held.Conn.Session.Idle():
	case c.base.Traits.Load().OneConn:
		c.giveBack() // every other statement needs it
	default:
		c.turn.leave(c.base)
	}
}

// alteredNow counts a change of the schema, or the end of a transaction that has made one.
func (c *Conn) alteredNow() {
	if c.tx.altered {
		c.base.Altered.Add(1)
	}
}
