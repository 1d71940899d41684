package virtual

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// grouped runs a query that may join a group, INSERT, UPDATE or DELETE with RETURNING, as a member of one, or here, which is on c's
// physical connection.
//
// A member's rows are copied and bounded, and its caller gets them after the commit. Whatever a group cannot answer with such rows runs here:
// more rows than a group keeps, an error behind a row, a constraint that fails the COMMIT. Its caller gets the driver's own rows then, and
// the driver's own order of rows and errors. A query that finds no other member runs here, too, in the lead and with the leader's turn: it
// costs what it costs on the plain driver, and what comes next waits until its rows are closed, as it waits for every writer.
func (c *Conn) grouped(ctx context.Context, traits *engine.Traits, e Exec, here func([]driver.NamedValue) (driver.Rows, error)) (driver.Rows, error) {
	if traits.Check != nil {
		if err := e.Check(traits); err != nil {
			return nil, err
		}
	}
	var rows driver.Rows
	var err error
	led := false
	e.Rows = true
	e.Lead = func() error {
		led = true
		rows, err = here(e.Args)
		return err
	}
	got, failed := c.host.Query(ctx, c, e)
	switch {
	case led: // and its error is counted by the host
		return c.counted(ctx, rows), err
	case got == nil && failed == nil:
		if rows, err = here(e.Args); err != nil {
			c.base.Failed(ctx, err)
		}
		return c.counted(ctx, rows), err
	}
	c.Count()
	return got, failed
}

// counted has the errors behind the rows be counted of a query that might have joined a group: there its error would have come before them.
func (c *Conn) counted(ctx context.Context, rows driver.Rows) driver.Rows {
	if r, ok := rows.(*turnRows); ok {
		r.failed = func(err error) { c.base.Failed(ctx, err) }
	}
	return rows
}

// groupsQuery reports that a query may join a group.
func (c *Conn) groupsQuery(ctx context.Context, traits *engine.Traits, e *Exec) bool {
	why := c.queryRefusal(ctx, traits, e)
	if why != Groupable {
		c.apart(why)
	}
	return why == Groupable
}

// TakeOver takes the turn of a leader that is about to call Lead.
func (c *Conn) TakeOver(t *turn.Turn) {
	if w := c.base.Writer; w != nil {
		c.turn.takeOver(w, t)
	}
}
