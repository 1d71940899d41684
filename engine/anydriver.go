package engine

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/fallback"
)

// anyDriver is the engine for a driver that no other engine knows. A group is BEGIN, the calls, COMMIT, by the driver's own
// methods. The first error ends the group, because databases differ in what an error does to a transaction.
type anyDriver struct{}

func (anyDriver) Open(_ context.Context, conn driver.Conn, s Settings) (Session, error) {
	if s.Mode == Autocommit {
		return nil, &OptionError{s.Spelled("Mode"), s.Mode.String(), "on this database only transaction"}
	}
	if s.Sync != SyncShared {
		return nil, &OptionError{s.Spelled("Sync"), s.Sync.String(), "on this database only shared"}
	}
	return anySession{conn}, nil
}

// mostWriters is no bound: the program's own pool has one.
const mostWriters = 1000

type anySession struct{ conn driver.Conn }

func (s anySession) Traits() Traits {
	return Traits{Dialect: GenericSQL, Writers: mostWriters, Singly: true}
}
func (s anySession) Idle() bool { return false }
func (s anySession) Close()     {}

func (s anySession) Alone(c *Call) (driver.Result, error) {
	return ExecOn(c.Context(), s.conn, c)
}

// ExecOn runs one call on a connection as database/sql would run it there. That includes what database/sql does for a driver
// that lacks an interface. It is for a [Session].
func ExecOn(ctx context.Context, conn driver.Conn, c *Call) (driver.Result, error) {
	if !c.Prepared {
		return fallback.Exec(ctx, conn, c.Query, c.Args)
	}
	st, err := fallback.Prepare(ctx, conn, c.Query)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return fallback.ExecStmt(ctx, conn, st, c.Args)
}

// QueryOn is [ExecOn] for a call that wants rows. end ends the use of the connection when the rows are closed.
func QueryOn(ctx context.Context, conn driver.Conn, c *Call) (rows driver.Rows, end func(), err error) {
	end = func() {}
	if !c.Prepared {
		if rows, err = fallback.Query(ctx, conn, c.Query, slices.Clone(c.Args)); err != driver.ErrSkip {
			return rows, end, err
		}
	}
	st, err := fallback.Prepare(ctx, conn, c.Query)
	if err != nil {
		return nil, end, err
	}
	rows, err = fallback.QueryStmt(ctx, conn, st, slices.Clone(c.Args))
	return rows, func() { st.Close() }, err
}

func (s anySession) Group(ctx context.Context, calls []*Call) Outcome {
	return GroupOn(ctx, s.conn, calls)
}

// GroupOn runs a group by the driver's own methods: begin, each call, commit. The first error ends it. It is for a
// [Session].
func GroupOn(ctx context.Context, conn driver.Conn, calls []*Call) Outcome {
	tx, err := fallback.Begin(ctx, conn, driver.TxOptions{})
	if err != nil {
		return Outcome{Verdict: Refused, Err: err}
	}
	began := time.Now()
	for i, c := range calls {
		ok := c.Try(func(c *Call) (driver.Result, error) { return ExecOn(c.Within(ctx), conn, c) })
		if !ok || c.Err() != nil {
			if err := tx.Rollback(); err != nil {
				// No COMMIT was sent: closing the connection is a rollback, too.
				return Outcome{Verdict: RolledBack, Culprit: i, Broken: true}
			}
			return Outcome{Verdict: RolledBack, Culprit: i}
		}
	}
	start := time.Now()
	if err := tx.Commit(); err != nil {
		return Outcome{Verdict: Unknown, Err: err, Broken: true}
	}
	return Outcome{Commit: time.Since(start), Members: start.Sub(began)}
}

// DefaultCheck converts one argument as database/sql does for a driver that has no conversion itself. It is a
// [Traits].Check.
func DefaultCheck(nv *driver.NamedValue) error { return fallback.DefaultCheck(nv) }
