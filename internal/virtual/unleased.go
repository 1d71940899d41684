package virtual

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
)

// How a transaction gets its connection with its first statement, where BEGIN by itself asks nothing of the database: see BeginsLate of
// engine.Traits. Between Begin and that statement it has no connection, and the database knows nothing of it.
//
// The transaction waits for the writer's turn with empty hands then, and gets the connection on which another has just committed. Its page
// cache is that of the database as it is. If each transaction had a connection while it waits, there would be as many connections as callers,
// and each would read again what the others have written meanwhile.

// unleasedTx begins a transaction without a connection. It returns nil where the transaction is to begin at once: on a connection that c
// has, whose session may be the program's, or with options, which the driver may refuse.
func (c *Conn) unleasedTx(ctx context.Context, traits *engine.Traits, opts driver.TxOptions) *transaction {
	if !traits.BeginsLate || c.held.Conn != nil || c.handler != nil || opts != (driver.TxOptions{}) || ctx.Err() != nil {
		return nil
	}
	c.tx.forget(&c.base.Readers)
	c.tx.unleased = &transaction{conn: c, ctx: ctx}
	return c.tx.unleased
}

// beginLeased begins, on the connection that is there now, a transaction that had none.
func (c *Conn) beginLeased() (err error) {
	t := c.tx.unleased
	if t == nil {
		return nil
	}
	c.held.more = true
	if err := c.txDefers(); err != nil {
		return err
	}
	if t.tx, err = fallback.Begin(t.ctx, c.held.Conn.Raw, driver.TxOptions{}); err == nil {
		c.tx.unleased = nil
	}
	return err
}
