package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/fingerprint"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// execOnce runs an Exec whose context has an id: in a group as any other call, unless its conn holds a physical
// connection, which then is the one to run it on.
func (c *conn) execOnce(ctx context.Context, id string, t *sqltext.Text, traits *engine.Traits, query string, args []driver.NamedValue, inputs int) (driver.Result, error) {
	if err := c.mayHaveID(ctx, id, t, traits, args); err != nil {
		return nil, err
	}
	args, err := fallback.Check(args, inputs, []fallback.ArgCheck{traits.Check, fallback.DefaultCheck})
	if err != nil {
		return nil, err
	}
	print, err := fingerprint.Of(id, query, args)
	if err != nil {
		return nil, err
	}
	since := time.Now()
	patience, busy := c.db.patience()
	for {
		f, mine, err := c.db.flights.board(id, print)
		if err != nil {
			return nil, err
		}
		var out engine.Answer
		ok := true
		switch {
		case !mine:
			out, ok = f.share(ctx, since, patience, busy)
		case c.holds() || noBatch(ctx):
			out = c.flyHere(ctx, f, t, traits, query, args, inputs != -1)
		default:
			out = c.fly(ctx, f, query, args, inputs != -1)
		}
		if ok {
			return out.Get()
		}
	}
}

// mayHaveID is the error of a call that cannot be a durable promise.
func (c *conn) mayHaveID(ctx context.Context, id string, t *sqltext.Text, traits *engine.Traits, args []driver.NamedValue) error {
	if err := c.db.keeps(id); err != nil {
		return err
	}
	switch {
	case t.Class != sqltext.Batch:
		return errNoID(id, "this statement")
	case traits.NeedsConn(args):
		return errNoID(id, "a statement with an argument that is for the driver")
	case c.inTx:
		return errNoID(id, "a statement inside a transaction")
	case c.lease.Conn != nil && !c.lease.Conn.Session.Idle():
		// A lost one is not idle either.
		if ctx.Err() == nil && errors.Is(c.met(c.lease.Conn.Ping(ctx)), driver.ErrBadConn) {
			return driver.ErrBadConn
		}
		return errNoID(id, "a statement inside a transaction")
	case c.bound:
		return fmt.Errorf("groupcommit: id %q: a statement on a connection whose session has been changed (by SET, PRAGMA, a temporary table, Raw) cannot have one, because an id is one per database, whatever a session sees; on another connection it can", id)
	}
	return nil
}

func errNoID(id, what string) error {
	return fmt.Errorf("groupcommit: id %q: %s cannot have one; a single INSERT, UPDATE, DELETE or the like outside a transaction can", id, what)
}

// refuseID is the error of what takes a context and has effects, but is no Exec.
func refuseID(ctx context.Context, what string) error {
	if id, ok := idOf(ctx); ok {
		return errNoID(id, what)
	}
	return nil
}

// fly has a group execute the call of a new flight.
func (c *conn) fly(ctx context.Context, f *flight, query string, args []driver.NamedValue, prepared bool) (out engine.Answer) {
	out.Err = engine.ErrUnanswered // what runtime.Goexit leaves
	defer func() { c.db.flights.land(f, out, ctx) }()
	out = c.run(ctx, query, args, prepared, f)
	return out
}

// flyHere executes the call of a new flight on a connection of its own. What comes of that connection, such as the end of
// its session's patience, is nobody else's: others who wait for the flight then try by themselves.
func (c *conn) flyHere(ctx context.Context, f *flight, t *sqltext.Text, traits *engine.Traits, query string, args []driver.NamedValue, prepared bool) (out engine.Answer) {
	out.Err = engine.ErrUnanswered
	defer func() {
		f.own = !everybodys(traits, out.Err)
		c.db.flights.land(f, out, ctx)
	}()
	if err := c.use(ctx, traits, t); err != nil {
		out.Err = err
		return out
	}
	call := &call{Call: engine.NewCall(ctx, query, args, prepared)}
	call.Identify(f.id, f.print)
	if !call.Try(c.lease.Conn.Session.Alone) {
		c.discard() // nobody knows what the panic left open
	}
	c.after(t)
	c.met(call.Err())
	if unknown := (*OutcomeUnknownError)(nil); errors.As(call.Err(), &unknown) {
		call.Doubt(unknown.Cause)
		c.discard() // there may be room for one connection, and another is to find out
		(&lane{database: c.db}).apart(call)
	}
	out = call.Outcome()
	return out
}

// everybodys reports that whoever comes with the same id is to get the same: a result, or an error that is recorded.
func everybodys(t *engine.Traits, err error) bool {
	if err == nil || t.Final == nil {
		return err == nil
	}
	_, final := t.Final(err)
	return final
}
