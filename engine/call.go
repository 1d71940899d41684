package engine

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/durable"
)

// A Call is one Exec as a session sees it: what was asked, and what it has come to so far. Value and outcome are one
// struct, so there is nothing to misalign.
//
// A [Session] reads Query, Args and Prepared and reports with Answer. The fields must not be changed, and
// nothing of a Call may be kept once the group it came with has been answered: the arguments belong to the caller.
type Call struct {
	Query    string
	Args     []driver.NamedValue
	Prepared bool // it came through a prepared statement: only the first statement of Query counts

	ctx    context.Context
	bytes  int
	id     string      // "" for most calls
	print  durable.Key // the fingerprint of a call with an id
	out    Answer
	putOff bool
	doubt  error // why it is not known whether an earlier attempt has left anything; nil if it has not
}

// NewCall makes a call of a caller's. Sessions are given theirs.
func NewCall(ctx context.Context, query string, args []driver.NamedValue, prepared bool) Call {
	return Call{Query: query, Args: args, Prepared: prepared, ctx: ctx, bytes: size(query, args)}
}

// Identify gives the call an id and its fingerprint.
func (c *Call) Identify(id string, print durable.Key) { c.id, c.print = id, print }

// Context is the caller's own context. It is for a statement that runs alone; it must never reach a statement of
// a group, where its end would interrupt the neighbours.
func (c *Call) Context() context.Context { return c.ctx }

// Bytes is the size of the call's text and arguments, as groupcommit.MaxBytes counts them.
func (c *Call) Bytes() int { return c.bytes }

// ID is the call's id; "" if it has none, as most calls. A call with an id is claimed and recorded by the session that
// runs it.
func (c *Call) ID() string { return c.id }

// Fingerprint is what a call with an id is known by: a digest of its text and arguments. It is the promise's create key.
func (c *Call) Fingerprint() durable.Key { return c.print }

// Answer sets the call's outcome, replacing an earlier one. The result is read at once, because on most drivers it
// is what the connection happens to hold after the statement. The caller sees nothing before the group is over.
func (c *Call) Answer(res driver.Result, err error) {
	c.out = Answer{Err: err}
	if own, ok := res.(*Result); ok && err == nil {
		c.out.Result = *own
	} else if err == nil && res != nil {
		c.out.Result.id, c.out.Result.idErr = res.LastInsertId()
		c.out.Result.rows, c.out.Result.rowsErr = res.RowsAffected()
	}
}

// PutOff says that the call has not been executed, or that nothing of it is left. Once the group is over its own caller
// runs it on another connection, as the plain driver would, and no other call waits for it. Its place in the order of calls
// is lost.
func (c *Call) PutOff() { c.putOff, c.out = true, Answer{Err: ErrUnanswered} }

// IsPutOff reports that the call was put off and has not been run since.
func (c *Call) IsPutOff() bool { return c.putOff }

// Reset makes the call unanswered: what an attempt said of it is void.
func (c *Call) Reset() { c.putOff, c.out = false, Answer{Err: ErrUnanswered} }

// Err is the outcome's error so far.
func (c *Call) Err() error { return c.out.Err }

// Outcome is the outcome so far.
func (c *Call) Outcome() Answer { return c.out }

// SetOutcome sets the outcome to another call's.
func (c *Call) SetOutcome(a Answer) { c.out = a }

// Try answers the call with what exec returns. A panic in exec becomes the outcome, a *[PanicError], so that
// no neighbour pays for it; Try reports whether there was none.
func (c *Call) Try(exec func(*Call) (driver.Result, error)) (ok bool) {
	Catch(func() {
		c.Answer(exec(c))
		ok = true
	}, func(p *PanicError) { // of runtime.Goexit, too: the goroutine ends, and the call must not stay open
		c.out = Answer{Err: p, Panicked: true}
	})
	return ok
}

// Doubt says that it is not known whether an attempt at the call has left anything, and why.
func (c *Call) Doubt(cause error) { c.doubt = cause }

// Doubted is why it is not known whether an attempt has left anything; nil if it is known that none has.
func (c *Call) Doubted() error { return c.doubt }

// Claimed says that it is certain whether an earlier attempt at the call has left anything: the ledger has been asked,
// by a claim that no other transaction can take back.
func (c *Call) Claimed() { c.doubt = nil }

// Conclude answers the call with an [OutcomeUnknownError] if it has failed and it is still in doubt.
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

// SetContext replaces the caller's context.
func (c *Call) SetContext(ctx context.Context) { c.ctx = ctx }
