package groupcommit

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A call is one Exec on its way through a group.
type call struct {
	engine.Call

	state    callState // the batcher's, as the last ones below
	accepted bool      // the same: its close waits for the call already

	home *conn // of a blocking Exec

	// The rest is the batcher's. Its mutex guards everything but wake, promise and accepted, which are written before the
	// call is queued.
	prev, next *call
	since      time.Time
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

// engineCalls are the calls as a session sees them.
func engineCalls(calls []*call) []*engine.Call {
	own := make([]*engine.Call, len(calls))
	for i, c := range calls {
		own[i] = &c.Call
	}
	return own
}

// execGrouped has a call run by a group and waits for its outcome.
func (c *conn) execGrouped(ctx context.Context, query string, args []driver.NamedValue, prepared bool) (driver.Result, error) {
	out := c.run(ctx, query, args, prepared, nil)
	return out.Get()
}

// run is execGrouped, for a flight if the call has an id.
func (c *conn) run(ctx context.Context, query string, args []driver.NamedValue, prepared bool, f *flight) engine.Answer {
	c.count()
	part, lanes, err := c.db.lanesFor(ctx)
	if err != nil {
		return engine.Answer{Err: err}
	}
	defer part.leave()
	b := pick(lanes)
	call := b.call()
	call.Call, call.home = engine.NewCall(ctx, query, args, prepared), c
	if f != nil {
		call.Identify(f.id, f.print)
	}
	var out engine.Answer
	if c.db.apiece(c.db.traits.Load()) {
		out.Err = b.during(func() { c.db.runApiece(call) })
	} else {
		out.Err = b.do(call)
	}
	if out.Err == nil {
		out = call.Outcome()
	}
	b.free(call)
	return out
}
