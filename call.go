package groupcommit

import (
	"context"
	"database/sql/driver"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// A Call is one Exec on its way through a group: what was asked, who asked, and the outcome. Value and outcome
// are one struct, so there is nothing to misalign.
//
// An [Engine] reads Query, Args and Prepared and reports with Answer. The fields must not be changed, and
// nothing of a Call may be kept once the group it came with has been answered: the arguments belong to the caller.
type Call struct {
	Query    string
	Args     []driver.NamedValue
	Prepared bool // it came through a prepared statement: only the first statement of Query counts

	apart    bool      // to be run by its caller, away from the group
	state    callState // the batcher's, as the last ones below
	accepted bool      // the same: its close waits for the call already

	ctx  context.Context
	home *conn // of a blocking Exec
	out  outcome

	task *task  // of a command; nil for an Exec
	then func() // what becomes of it when its group is over, if it is not to be answered yet

	id    string      // "" for most calls
	print durable.Key // the fingerprint of a call with an id
	doubt error       // why it is not known whether an earlier attempt has left anything; nil if it has not

	// The rest is the batcher's. Its mutex guards everything but wake, promise and accepted, which are written before the
	// call is queued.
	prev, next *Call
	since      time.Time
	bytes      int
	wake       chan struct{} // cap 1; one token for each change of state that its waiter must see; of a promise only in the backlog
	promise    *Promise      // nil for a blocking Exec
}

type callState uint8

const (
	callNew       callState = iota
	callBacklog             // waiting for room in the queue
	callQueued              // in the queue; can still be withdrawn
	callLeading             // in the queue, and its goroutine leads the next group
	callClaimed             // in a group; it will be answered
	callWithdrawn           // taken back before any group claimed it; certainly not executed
)

// outcome is what a caller gets: a result or an error.
type outcome struct {
	result   result
	value    any // of a command
	err      error
	panicked bool // err is a *PanicError, of the caller's own panic
}

// result is a [driver.Result] that was read right after its statement.
type result struct {
	id, rows       int64
	idErr, rowsErr error
	replayed       bool // it comes from the ledger, or from another call
}

func (r *result) LastInsertId() (int64, error) { return r.id, r.idErr }
func (r *result) RowsAffected() (int64, error) { return r.rows, r.rowsErr }

// Context is the caller's own context. It is for a statement that runs alone; it must never reach a statement of
// a group, where its end would interrupt the neighbours.
func (c *Call) Context() context.Context { return c.ctx }

// Bytes is the size of the call's text and arguments, as [MaxBytes] counts them.
func (c *Call) Bytes() int { return c.bytes }

// Answer sets the call's outcome, replacing an earlier one. The result is read at once, because on most drivers it
// is what the connection happens to hold after the statement. The caller sees nothing before the group is over.
func (c *Call) Answer(res driver.Result, err error) {
	c.out = outcome{err: err}
	if own, ok := res.(*result); ok && err == nil {
		c.out.result = *own
	} else if err == nil && res != nil {
		c.out.result.id, c.out.result.idErr = res.LastInsertId()
		c.out.result.rows, c.out.result.rowsErr = res.RowsAffected()
	}
}

// Apart puts the call off: it has not been executed, or nothing of it is left. Once the group is over its own caller
// runs it on a connection of its own, as the plain driver would, and nobody waits for it. Its place in the order of calls
// is lost.
func (c *Call) Apart() { c.apart, c.out = true, outcome{err: errUnanswered} }

// doubtful answers the call if it has failed and it is still not known whether an earlier attempt has left anything.
func (c *Call) doubtful() {
	if c.doubt != nil && c.out.err != nil {
		c.Answer(nil, &OutcomeUnknownError{ID: c.id, Cause: c.doubt, ended: c.ctx.Err()})
	}
}

// Err is the outcome's error so far.
func (c *Call) Err() error { return c.out.err }

// Try answers the call with what exec returns. A panic in exec becomes the outcome, a *[PanicError], so that
// nobody pays for a neighbour's panic; Try reports whether there was none.
func (c *Call) Try(exec func(*Call) (driver.Result, error)) (ok bool) {
	defer func() {
		if ok {
			return
		}
		v := recover()
		if v == nil { // runtime.Goexit: the goroutine ends whatever we do, the call must not stay open
			v = "runtime.Goexit was called during the statement"
		}
		c.out = outcome{err: &PanicError{Value: v, Stack: debug.Stack()}, panicked: true}
	}()
	c.Answer(exec(c))
	return true
}

// execGrouped has a call run by a group and waits for its outcome.
func (c *conn) execGrouped(ctx context.Context, query string, args []driver.NamedValue, prepared bool) (driver.Result, error) {
	out := c.run(ctx, query, args, prepared, nil)
	return out.get()
}

// run is execGrouped, for a flight if the call has an id.
func (c *conn) run(ctx context.Context, query string, args []driver.NamedValue, prepared bool, f *flight) outcome {
	c.count()
	part, lanes, err := c.db.lanesFor(ctx)
	if err != nil {
		return outcome{err: err}
	}
	defer part.leave()
	b := pick(lanes)
	call := b.call()
	call.Query, call.Args, call.Prepared, call.ctx, call.home = query, args, prepared, ctx, c
	if f != nil {
		call.id, call.print = f.id, f.print
	}
	var out outcome
	if c.db.apiece(c.db.traits.Load()) {
		out.err = b.during(func() { c.db.runApiece(call) })
	} else {
		out.err = b.do(call)
	}
	if out.err == nil {
		out = call.out
	}
	b.free(call)
	return out
}

// get is what Exec returns. It panics where the plain driver would have.
func (o *outcome) get() (driver.Result, error) {
	switch {
	case o.panicked:
		panic(o.err.(*PanicError).Value)
	case o.err != nil:
		return nil, o.err
	}
	res := o.result
	return &res, nil
}

// size is what the call counts against [MaxBytes]: its text and its arguments.
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

// PanicError is the outcome of a call during which something of the caller's own panicked: a [driver.Valuer], a
// type's conversion, a function that SQL calls, a command's handler. A blocking Exec panics with Value, as it does on the
// plain driver; a [Promise] is rejected with the PanicError.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("groupcommit: panic during a call: %v", e.Value)
}

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// unpanicked is f's error, or a *[PanicError] if f panics: it calls what belongs to the caller.
func unpanicked(f func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	err = f()
	returned = true
	return err
}
