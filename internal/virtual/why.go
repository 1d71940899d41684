package virtual

import (
	"context"
	"database/sql/driver"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// Why says why a call joins no group.
type Why uint8

const (
	Groupable Why = iota // it may join one

	// The text: see the constants of package sqltext, in their order.
	Blank
	Reads
	Several
	Controls
	Changes
	Asks
	Unread
	OtherKind

	// The connection.
	InTransaction // a transaction is open on it
	Bound         // its session has been changed, so it has a physical connection for life
	Held          // it has a physical connection for another reason: a statement before in the same checkout, rows that are open

	// The database.
	Hooked  // a hook of the driver needs each caller's own context
	NoRows  // its groups cannot answer with rows
	OneConn // the program's pool has one connection

	// The call.
	Asked    // its context is one of NoBatch
	NeedsOn  // only the connection that runs it may see its arguments
	TooLarge // queries with its text have had more rows than a group keeps
	Slow     // calls with its text were found to be better off by themselves
	NoRoom   // a bound of groups leaves no room for another call beside it

	whys
)

// whyText is a text's reason.
func whyText(t *sqltext.Text) Why { return Why(t.Why) }

// Refusal is why a call may join no group, if there are any, and if its connection holds no physical one.
func Refusal(ctx context.Context, t *sqltext.Text, traits *engine.Traits, args []driver.NamedValue) Why {
	switch {
	case t.Class != sqltext.Batch:
		return whyText(t)
	case NoBatch(ctx):
		return Asked
	case traits.NeedsConn(args):
		return NeedsOn
	}
	return Groupable
}

// RowsRefusal is why a statement that may join a group may not if its caller asks for its rows.
func (b *Base) RowsRefusal(t *sqltext.Text, traits *engine.Traits) Why {
	switch {
	case !t.Returning:
		return Reads
	case !traits.Rows:
		return NoRows
	case b.Large.Has(t.Query):
		return TooLarge
	}
	return Groupable
}

// holds is why c's next statement must go to the physical connection that c has.
func (c *Conn) holds() Why {
	switch {
	case !c.Holds():
		return Groupable
	case c.tx.begun, c.held.control:
		return InTransaction
	case c.bound:
		return Bound
	}
	return Held
}

// execRefusal is why an Exec of c's may join no group.
func (c *Conn) execRefusal(ctx context.Context, traits *engine.Traits, e *Exec) Why {
	why := c.holds()
	if why == Groupable {
		why = Refusal(ctx, e.Text, traits, e.Args)
	}
	switch {
	case why != Groupable:
	case c.checkout.early:
		why = Held
	case c.base.Apiece:
		why = Hooked
	}
	return why
}

// queryRefusal is why a query of c's may join no group. The library's own connections have reasons to keep theirs.
func (c *Conn) queryRefusal(ctx context.Context, traits *engine.Traits, e *Exec) Why {
	why := c.holds()
	switch {
	case why != Groupable:
	case c.base.Apiece && e.Text.Class == sqltext.Batch:
		why = Hooked
	case !c.programs:
		why = Held
	default:
		if why = Refusal(ctx, e.Text, traits, e.Args); why == Groupable {
			why = c.base.RowsRefusal(e.Text, traits)
		}
		if why == TooLarge {
			c.base.Large.fade(e.Text.Query)
		}
	}
	return why
}

// apart counts a call of the program's that joins no group.
func (c *Conn) apart(why Why) {
	if c.programs {
		c.base.Apart.Note(why)
	}
}

// Apart counts the calls that have joined no group, by why.
type Apart [whys]atomic.Int64

// Note counts a call.
func (a *Apart) Note(why Why) { a[why].Add(1) }
