package virtual

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// What the host needs of a connection for a call that has an id.

// MayHaveID is the error of a call on c that cannot be a durable promise.
func (c *Conn) MayHaveID(ctx context.Context, id string, e Exec) error {
	switch {
	case e.Text.Class != sqltext.Batch:
		return errNoID(id, "this statement")
	case c.base.Traits.Load().NeedsConn(e.Args):
		return errNoID(id, "a statement with an argument that is for the driver")
	case c.tx.begun:
		return errNoID(id, "a statement inside a transaction")
	case c.held.Conn != nil && !c.held.Conn.Session.Idle():
		// A lost one is not idle either.
		if ctx.Err() == nil && errors.Is(c.met(c.held.Conn.Ping(ctx)), driver.ErrBadConn) {
			return driver.ErrBadConn
		}
		return errNoID(id, "a statement inside a transaction")
	case c.bound:
		return fmt.Errorf("groupcommit: id %q: a statement on a connection whose session has been changed (by SET, PRAGMA, a temporary table, Raw) cannot have one, because an id is one per database, whatever a session sees; on another connection it can", id)
	}
	return nil
}

// queryID has the host run a query that writes and has an id. It is a call as an Exec is: its rows are copied and bounded, and its caller
// gets them after the commit, with their record.
func (c *Conn) queryID(ctx context.Context, id string, e Exec) (driver.Rows, error) {
	if !e.Text.Returning {
		return nil, errNoID(id, "a query that writes without RETURNING")
	}
	defer c.abandon(!c.Holds())
	e.Rows = true
	return c.host.QueryID(ctx, c, id, e)
}

// Here reports that a call with an id must run on the physical connection that c has or takes, and counts it.
func (c *Conn) Here(ctx context.Context) bool {
	why := c.holds()
	if why == Groupable && NoBatch(ctx) {
		why = Asked
	}
	if why != Groupable {
		c.apart(why)
	}
	return why != Groupable
}

// RunHere runs a call that has an id on c's own physical connection, and answers it. An error says that it was not run.
//
// If the outcome of the call is not known, RunHere closes the physical connection. There may be room for one connection, and
// another must find the outcome out.
func (c *Conn) RunHere(ctx context.Context, t *sqltext.Text, call *engine.Call) error {
	if err := c.use(ctx, c.base.Traits.Load(), t); err != nil {
		return err
	}
	if !call.Try(c.held.Conn.Session.Alone) {
		c.discard() // it is not known what the panic left open
	}
	c.after(t)
	c.met(call.Err())
	if err := c.settle(call.Err()); err != call.Err() {
		call.Answer(nil, err)
	}
	if unknown := (*engine.OutcomeUnknownError)(nil); errors.As(call.Err(), &unknown) && c.Holds() {
		c.discard()
	}
	return nil
}
