package groupcommit

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// How a conn takes the writer's turn, and when it gives it back.

// mayWrite takes the writer's turn for a statement, if it writes or if that is to be expected of its transaction. One that
// begins a transaction by text does not need it yet.
func (c *conn) mayWrite(ctx context.Context, traits *engine.Traits, t *sqltext.Text) (err error) {
	switch {
	case c.db.writer == nil:
		return nil
	case traits.OneConn:
		return c.takeTurn(ctx)
	}
	inTx := c.transacting()
	if !inTx { // the one before may have ended by text
		c.forgetTx()
	}
	if t.Tentative || t.Query == "" {
		return nil
	}
	defer func() {
		if err == nil { // who has waited in vain has executed nothing
			c.began = inTx
		}
	}()
	if t.Write {
		if c.first != "" {
			c.db.readers.Ended(c.first, true)
			c.first = ""
		}
		return c.takeTurn(ctx)
	}
	if !inTx || c.began || c.hasTurn || c.readOnly {
		return nil
	}
	c.first = t.Query
	yes, enough := c.db.readers.Likely(t.Query)
	if yes {
		return nil
	}
	return c.expectTurn(ctx, enough)
}

// transacting reports that a transaction is open.
func (c *conn) transacting() bool { return c.inTx || c.control && !c.lease.Conn.Session.Idle() }

// forgetTx is called when no transaction is open any more.
func (c *conn) forgetTx() {
	if c.first != "" {
		c.db.readers.Ended(c.first, false)
	}
	c.began, c.readOnly, c.first = false, false, ""
}

// takeTurn takes the writer's turn, or makes sure of the one that c has. A transaction that has executed something without
// a turn, or has lost it, does not wait for one: it may hold a lock or a snapshot that the writer needs to be rid of, so the
// database is to say what the plain driver would have heard.
func (c *conn) takeTurn(ctx context.Context) error {
	w := c.db.writer
	if w == nil || c.hasTurn && w.Firm(c.turn) {
		return nil
	}
	if c.turn == nil {
		c.turn = turn.New()
	}
	if c.began && c.transacting() {
		c.hasTurn = w.TakeFree(c.turn)
		return nil
	}
	err := c.db.takeTurn(ctx, c.turn, nil, time.Now())
	c.hasTurn = err == nil
	return err
}

// expectTurn takes the writer's turn for a transaction that may write later, until enough is closed.
func (c *conn) expectTurn(ctx context.Context, enough <-chan struct{}) error {
	if c.turn == nil {
		c.turn = turn.New()
	}
	err := c.db.takeTurn(ctx, c.turn, enough, time.Now())
	c.hasTurn = err == nil // perhaps in vain; it is then one that was overtaken
	return err
}

// after a statement, the turn ends if nothing that was begun is still open.
func (c *conn) after(t *sqltext.Text) {
	if t != nil && (t.Schema || t.Class == sqltext.Control) {
		c.altered = c.altered || t.Schema // and a rollback may take it back
		c.alteredNow()
		c.db.texts.Forget()
	}
	if !c.hasTurn || c.inTx || c.rows > 0 {
		return
	}
	switch {
	case c.lease.Conn == nil:
		c.leaveTurn()
	case !c.lease.Conn.Session.Idle():
	case c.db.traits.Load().OneConn:
		c.giveBack() // everybody else needs it
	default:
		c.leaveTurn()
	}
}

// alteredNow counts a change of the schema, or the end of a transaction that has made one.
func (c *conn) alteredNow() {
	if c.altered {
		c.db.altered.Add(1)
	}
}

func (c *conn) leaveTurn() {
	if c.hasTurn {
		c.db.writer.Leave(c.turn)
		c.hasTurn = false
	}
}
