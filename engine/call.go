package engine

import (
	"context"
	"database/sql/driver"
	"math"

	"github.com/groupcommit/groupcommit/durable"
)

// A Call is one Exec as a session sees it, or a query with RETURNING: the request, and its outcome so far. Both are one struct, so
// they cannot be misaligned.
//
// A [Session] reads Query, Args and Prepared, and reports with Answer. It must not change the fields, and must not keep any
// part of a Call after the Call's group has been answered: the arguments belong to the caller.
type Call struct {
	Query    string
	Args     []driver.NamedValue
	Prepared bool // the call came through a prepared statement: only the first statement of Query counts

	putOff bool
	wants  bool // its caller wants rows
	large  bool // it may have more of them than a group keeps
	bytes  int32
	ctx    context.Context
	id     string      // "" for most calls
	print  durable.Key // the fingerprint of a call with an id
	out    Answer
	rows   *Rows // in a group
	doubt  error // why an earlier attempt may have left an effect; nil if none has
}

// NewCall makes a call, which has no answer yet. The library makes calls; a session gets them.
func NewCall(ctx context.Context, query string, args []driver.NamedValue, prepared bool) (c Call) {
	c.Make(ctx, query, args, prepared)
	return c
}

// Make is [NewCall] in the place of a zero Call.
func (c *Call) Make(ctx context.Context, query string, args []driver.NamedValue, prepared bool) {
	c.Query, c.Args, c.Prepared, c.ctx = query, args, prepared, ctx
	c.bytes = int32(min(size(query, args), math.MaxInt32))
	c.out.Err = ErrUnanswered
}

// Identify gives the call an id and its fingerprint.
func (c *Call) Identify(id string, print durable.Key) { c.id, c.print = id, print }

// WantRows says that the call is a query: its caller wants rows. A query without an id is a member of a group, or is put off; a session never
// runs one alone. One with an id is run as any call with an id, alone or, where [Traits].RowsWithID says so, in a group. Its rows are read by
// [ReadReturned].
func (c *Call) WantRows() { c.wants = true }

// WantsRows reports that the call is a query. In a group its rows are read by a [RowReader], unless it has an id.
func (c *Call) WantsRows() bool { return c.wants }

// IsLarge reports that an attempt at the query has had more rows than a group keeps, or that PutOffLarge said so. Then the next queries
// of its text join no group.
func (c *Call) IsLarge() bool { return c.large }

// Rows is what Query returns for a call without an id.
func (c *Call) Rows() (driver.Rows, error) {
	if _, err := c.out.Get(); err != nil {
		return nil, err
	}
	return c.rows, nil
}

// Context is the caller's own context. It is for a call that runs alone. It must never reach a statement of a group, because
// its end would interrupt the neighbours; [Call.Within] gives its values to one.
func (c *Call) Context() context.Context { return c.ctx }

// Within returns a group's context with the values of the caller's own, for a statement of the group that goes through a
// wrapper around the driver: a tracer finds its caller's trace there, as on the plain driver.
func (c *Call) Within(group context.Context) context.Context {
	return within{group, context.WithoutCancel(c.ctx)}
}

type within struct {
	context.Context
	values context.Context
}

func (w within) Value(key any) any { return w.values.Value(key) }

// Bytes is the size of the call's text and arguments, as groupcommit.MaxBytes counts them.
func (c *Call) Bytes() int { return int(c.bytes) }

// ID is the call's id; "" if it has none, as most calls. The session that runs a call with an id claims and records it.
func (c *Call) ID() string { return c.id }

// Fingerprint identifies a call with an id: a digest of its text and arguments. It is the promise's create key.
func (c *Call) Fingerprint() durable.Key { return c.print }

// Answer sets the call's outcome. It replaces an earlier one. Answer reads the result at once, because most drivers read it
// from the connection, which holds it only until the next statement. The caller sees the outcome when the group is over.
func (c *Call) Answer(res driver.Result, err error) {
	c.out = Answer{Err: err}
	if err != nil || res == nil {
		return
	}
	switch res := res.(type) {
	case *Result:
		c.out.Result = *res
	case driver.RowsAffected:
		c.out.Result.rows, c.out.Result.idErr = int64(res), errNoInsertID
	default:
		c.out.Result.id, c.out.Result.idErr = res.LastInsertId()
		c.out.Result.rows, c.out.Result.rowsErr = res.RowsAffected()
	}
}

// AnswerCounts is [Call.Answer] with a result that has been read.
func (c *Call) AnswerCounts(lastInsertID, rowsAffected int64) {
	c.out = Answer{Result: Result{id: lastInsertID, rows: rowsAffected}}
}

// PutOff says that the call has not been executed, or has left nothing behind. Once the group is over, the call's own caller
// runs it on another connection, as the plain driver would, and no other call waits for it. The call loses its place in the
// order of calls.
func (c *Call) PutOff() { c.putOff, c.rows, c.out = true, nil, Answer{Err: ErrUnanswered} }

// PutOffLarge is PutOff for a query that may have more rows than a group keeps, where the group cannot be undone when it has.
func (c *Call) PutOffLarge() {
	c.PutOff()
	c.large = true
}

// IsPutOff reports that the call was put off.
func (c *Call) IsPutOff() bool { return c.putOff }

// Reset makes the call unanswered: it drops the outcome of an attempt.
func (c *Call) Reset() { c.putOff, c.rows, c.out = false, nil, Answer{Err: ErrUnanswered} }

// Err is the outcome's error so far.
func (c *Call) Err() error { return c.out.Err }

// Get is what Exec returns: see [Answer.Get].
func (c *Call) Get() (driver.Result, error) { return c.out.Get() }

// Outcome is the outcome so far.
func (c *Call) Outcome() Answer { return c.out }

// SetOutcome sets the outcome to another call's.
func (c *Call) SetOutcome(a Answer) { c.out = a }

// Try answers the call with what exec returns. A panic in exec becomes the outcome, a *[PanicError], so that no neighbour
// pays for it. Try reports whether exec returned.
func (c *Call) Try(exec func(*Call) (driver.Result, error)) (ok bool) {
	Catch(func() {
		c.Answer(exec(c))
		ok = true
	}, func(p *PanicError) { // after runtime.Goexit, too: the goroutine ends, and the call must not stay open
		c.out = Answer{Err: p, Panicked: true}
	})
	return ok
}

// Doubt says that an attempt at the call may have left an effect, and why that is not known.
func (c *Call) Doubt(cause error) { c.doubt = cause }

// Doubted is why an attempt may have left an effect; nil if it is known that none has.
func (c *Call) Doubted() error { return c.doubt }

// Claimed ends the doubt: the ledger has been asked, by a claim that no other transaction can take back, so that it is
// certain what an earlier attempt has left.
func (c *Call) Claimed() { c.doubt = nil }

// Conclude answers the call with an [OutcomeUnknownError] if the call has failed and is still in doubt.
func (c *Call) Conclude() {
	if c.doubt != nil && c.out.Err != nil {
		c.Answer(nil, InDoubt(c.id, c.doubt, c.ctx.Err()))
	}
}

// size is what the call counts against groupcommit.MaxBytes: its text and its arguments.
func size(query string, args []driver.NamedValue) int {
	n := len(query)
	for i := range args {
		n += 16
		switch v := args[i].Value.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}
