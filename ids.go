package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/deadline"
	"github.com/groupcommit/groupcommit/internal/fingerprint"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/tally"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// Calls with an id. The ledger is the table of promises, as far as such calls use it. A session of an engine claims the ids
// of its calls, executes the calls that are new, and records their outcomes, all in one transaction. So there is never a row
// without an outcome, and never an outcome without its effect. A call that comes again is answered from the ledger.
//
// A call whose id is in flight in this process does not reach the ledger: it joins the call that is under way.

// ExecID runs an Exec whose context has an id: in a group as any other call, or on the physical connection that c holds.
func (d *database) ExecID(ctx context.Context, c *virtual.Conn, id string, v virtual.Exec) (driver.Result, error) {
	var out engine.Answer
	if err := d.callID(ctx, c, id, v, &out); err != nil {
		d.Failed(ctx, err)
		return nil, err
	}
	return out.Get()
}

// QueryID is ExecID for a query with RETURNING.
func (d *database) QueryID(ctx context.Context, c *virtual.Conn, id string, v virtual.Exec) (driver.Rows, error) {
	var out engine.Answer
	if err := d.callID(ctx, c, id, v, &out); err != nil {
		d.Failed(ctx, err)
		return nil, err
	}
	return out.Rows(id)
}

// callID has the outcome of a call with an id in out: its own, or that of another with its id. An error says that it was not
// executed. There is one Answer for all that the call goes through: each goroutine waits with all of its stack.
func (d *database) callID(ctx context.Context, c *virtual.Conn, id string, v virtual.Exec, out *engine.Answer) error {
	if err := d.keeps(id); err != nil {
		return err
	}
	if err := c.MayHaveID(ctx, id, v); err != nil {
		return err
	}
	if err := v.Check(d.Traits.Load()); err != nil {
		return err
	}
	print, err := fingerprint.Of(id, v.Text.Query, v.Args)
	if err != nil {
		return err
	}
	f, mine, err := d.inFlight.Begin(id, string(print))
	if err == nil && !mine {
		f, *out, err = d.inFlight.Follow(ctx, f, d.wait(time.Now()))
	}
	shared := err == nil && f == nil
	switch {
	case err == flight.ErrOther && !c.Holds(): // who holds a connection may hold the only one
		*out = d.ofOwner(ctx, id, print)
	case err != nil:
		return joinError(ctx, id, err)
	case shared:
		*out = joined(*out)
	case c.Here(ctx):
		d.execHere(ctx, c, v, f, out)
	default:
		d.execFlight(ctx, c, v, f, out)
	}
	if out.Err != nil {
		d.Failed(ctx, out.Err)
	}
	if isReplay(out, shared) {
		d.Ends.Replayed()
	}
	return nil
}

// wait is how long a call that came at a time waits for another with its id.
func (d *database) wait(since time.Time) flight.Wait {
	patience, busy := d.patience()
	return flight.Wait{Since: since, Patience: patience, Busy: busy}
}

// joined is another call's outcome, marked as replayed.
func joined(out engine.Answer) engine.Answer {
	out.Result.Replayed = out.Err == nil
	return out
}

// ofOwner is the outcome of a call while another with its id and another request is under way. The id may be this call's all the same, by its
// record. Without one it is the other's, for as long as that is under way.
func (d *database) ofOwner(ctx context.Context, id string, print durable.Key) engine.Answer {
	p, err := d.recorded(ctx, id)
	switch {
	case errors.Is(err, durable.ErrNotFound):
		return engine.Answer{Err: engine.Mismatch(id)}
	case err != nil:
		return engine.Answer{Err: err}
	}
	var c engine.Call
	c.Identify(id, print)
	c.Answer(c.Replay(p))
	return c.Outcome()
}

// isReplay reports that a call was answered without being executed: from the ledger, or, if it has joined another call, with that
// call's outcome.
func isReplay(out *engine.Answer, joined bool) bool {
	return joined || out.Result.Replayed || out.Err != nil && tally.IsReplay(out.Err)
}

// joinError is the error of a call that could not join another one.
func joinError(ctx context.Context, id string, err error) error {
	switch err {
	case flight.ErrOther, flight.ErrTaken:
		return engine.Mismatch(id)
	case flight.ErrLeft:
		return engine.Left(id, ctx.Err())
	}
	return err
}

// execFlight has a group execute the call of a new flight.
func (d *database) execFlight(ctx context.Context, c *virtual.Conn, v virtual.Exec, f *flight.Flight[engine.Answer], out *engine.Answer) {
	out.Err = engine.ErrUnanswered // what runtime.Goexit leaves
	defer func() { d.complete(f, out, ctx, false) }()
	c.Count()
	e, err := d.run(ctx, c, v, f)
	if err != nil {
		out.Err = err
		return
	}
	*out = e.Outcome()
	e.free()
}

// execHere executes the call of a new flight on the physical connection that its own connection holds. An error that comes
// of that connection, such as the end of its session's patience, is no other caller's: callers that wait for the flight try
// themselves.
func (d *database) execHere(ctx context.Context, c *virtual.Conn, v virtual.Exec, f *flight.Flight[engine.Answer], out *engine.Answer) {
	out.Err = engine.ErrUnanswered
	defer func() { d.complete(f, out, ctx, !forAll(d.Traits.Load(), out.Err)) }()
	e := &exec{Call: engine.NewCall(ctx, v.Text.Query, v.Args, v.Prepared)}
	e.Identify(f.ID(), durable.Key(f.Key()))
	if v.Rows {
		e.WantRows()
	}
	if err := c.RunHere(ctx, v.Text, &e.Call); err != nil {
		out.Err = err
		return
	}
	if unknown := (*OutcomeUnknownError)(nil); errors.As(e.Err(), &unknown) { // another connection must find out
		e.Doubt(unknown.Cause)
		d.runBeside(e)
	}
	*out = e.Outcome()
}

// keptRowBytes bounds the rows that are kept in memory with an outcome: there are ten thousand outcomes.
const keptRowBytes = 1 << 10

// complete ends a flight with its first caller's outcome. own says that the outcome is for no other caller.
func (d *database) complete(f *flight.Flight[engine.Answer], out *engine.Answer, ctx context.Context, own bool) {
	keep := flight.Shared
	switch {
	case own, out.Panicked, out.Err == engine.ErrUnanswered, errors.Is(out.Err, driver.ErrBadConn), out.Err != nil && deadline.Over(ctx):
		keep = flight.Own
	case out.Result.RowBytes() > keptRowBytes: // a later call finds them in the ledger
	case out.Err == nil && !out.Result.Replayed: // how long the ledger will keep a replay is not known
		keep = flight.Kept
	}
	d.inFlight.Complete(f, out, keep)
}

// forAll reports that every call with the same id must get this outcome: a result, or an error that is recorded.
func forAll(t *engine.Traits, err error) bool {
	if err == nil || t.Final == nil {
		return err == nil
	}
	_, final := t.Final(err)
	return final
}

// Deduplicated reports that a call was not executed: its result comes from the ledger, or from another call with the same id
// that was under way. False for a result that is not ours. Rows do not tell it. [Promise.Deduplicated] tells the same of a promise.
func Deduplicated(res sql.Result) bool {
	if own, ok := res.(*engine.Result); ok {
		return own.Replayed
	}
	// database/sql returns the driver's result in its own private struct, and reflection finds it there by type. If Go changed
	// that struct, Deduplicated would answer false. TestDeduplicatedFindsAResultInsideDatabaseSQL would then fail.
	if v := reflect.ValueOf(res); v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Interface && !f.IsNil() && f.Elem().Type() == reflect.TypeFor[*engine.Result]() {
				return f.Elem().Elem().FieldByName("Replayed").Bool()
			}
		}
	}
	return false
}

// Lookup returns the record of the promise with an id, whichever program made it. The error is durable.ErrNotFound if there
// is none: no transaction with it has been committed, or it is older than the retention allows. Lookup reads what is
// committed, so it does not see a call that is under way.
//
// For a promise of an Exec, Value.Data is JSON. If the promise is resolved, it is {"rows":1,"id":7}: the rows affected and
// the last insert id, each left out if the driver does not tell it. If the promise is rejected, it is
// {"code":"23505","message":"…"}, as in [RejectedError]; the code is left out if there was none. For a query with RETURNING it is
// {"rows":1,"returned":"…"}, where returned has the rows in an encoding of the library's own; to get them, make the call again.
//
// db must be one of ours, opened with [Promises].
func Lookup(ctx context.Context, db *sql.DB, id string) (durable.Promise, error) {
	d, err := databaseOf(ctx, db)
	if err != nil {
		return durable.Promise{}, err
	}
	if err := d.keeps(id); err != nil {
		return durable.Promise{}, err
	}
	d.Pool.Learn(db)
	if _, err := d.ready(ctx); err != nil {
		return durable.Promise{}, err
	}
	return d.recorded(ctx, id)
}

// recorded is the record of an id.
func (d *database) recorded(ctx context.Context, id string) (durable.Promise, error) {
	if d.Traits.Load().OneConn { // as for a query: the connection is used in the writer's turn only
		t := turn.New()
		if err := d.TakeTurn(ctx, t, nil, time.Now()); err != nil {
			return durable.Promise{}, err
		}
		defer d.Writer.Leave(t)
	}
	p, err := d.ledger.Get(ctx, id)
	if err == nil {
		err = d.settled()
	}
	if err != nil {
		return durable.Promise{}, err
	}
	return p, nil
}
