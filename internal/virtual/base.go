// Package virtual is the connection that database/sql pools, and the roads that a statement on it can take. It knows
// engines, physical connections and turns. It does not know groups, promises or commands.
package virtual

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/internal/tally"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A Base is the part of a database that its connections use.
type Base struct {
	Pool    *physical.Pool // written once, when the database is made
	Texts   sqltext.Cache
	Readers turn.Readers
	Large   Large
	Apart   Apart
	Ends    tally.Tally  // of the calls that may join a group, and of those with an id
	Altered atomic.Int64 // changes of the schema that have gone through us

	Writer *turn.Writer // nil unless there is one writer; written once, before Traits
	Apiece bool         // there are no groups: each Exec runs by itself; the same

	DurableReads bool // a query waits until what it has read is durable; written once, when the database is made
	Syncs        Syncs

	Traits atomic.Pointer[engine.Traits] // set when the database is opened
}

// TakeTurn waits for the writer on behalf of a caller that has been waiting since then. See Take of package turn.
func (b *Base) TakeTurn(ctx context.Context, t *turn.Turn, enough <-chan struct{}, since time.Time) error {
	if b.Writer == nil {
		return nil
	}
	traits := b.Traits.Load()
	wait := max(0, traits.BusyWait-time.Since(since))
	return b.Writer.Take(ctx, t, enough, wait, traits.Busy)
}

// Failed counts the error of a call whose caller is database/sql. That makes the call again after driver.ErrBadConn: it has not
// ended yet.
func (b *Base) Failed(ctx context.Context, err error) {
	if !errors.Is(err, driver.ErrBadConn) {
		b.Ends.Failed(ctx, b.Traits.Load(), err)
	}
}

// An Exec is a call of ExecContext, on a connection or on a prepared statement, or one of QueryContext.
type Exec struct {
	Text     *sqltext.Text
	Args     []driver.NamedValue
	Inputs   int  // how many arguments are needed; -1 if it is not known
	Prepared bool // it came through a prepared statement
	Rows     bool // it is one of QueryContext

	// Lead runs a query without an id on its own connection, in its own goroutine. It is for a leader that finds no other member.
	Lead func() error
}

// Check converts the arguments, and counts them.
func (e *Exec) Check(traits *engine.Traits) (err error) {
	e.Args, err = fallback.Check(e.Args, e.Inputs, []fallback.ArgCheck{traits.Check, fallback.DefaultCheck})
	return err
}
