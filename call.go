package groupcommit

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// A call is one Exec, or one command, on its way through a group.
type call struct {
	engine.Call

	state    callState // the batcher's, as the last ones below
	accepted bool      // the same: its close waits for the call already

	home *virtual.Conn // of a blocking Exec

	task *task  // of a command; nil for an Exec
	then func() // what becomes of it when its group is over, if it is not to be answered yet

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

// run has a group run a call and waits for its outcome. f is its flight, if it has an id.
func (d *database) run(ctx context.Context, home *virtual.Conn, e virtual.Exec, f *flight) engine.Answer {
	part, lanes, err := d.lanesFor(ctx)
	if err != nil {
		return engine.Answer{Err: err}
	}
	defer part.leave()
	b := pick(lanes)
	call := b.call()
	call.Call, call.home = engine.NewCall(ctx, e.Text.Query, e.Args, e.Prepared), home
	if f != nil {
		call.Identify(f.id, f.print)
	}
	var out engine.Answer
	if d.Apiece {
		out.Err = b.during(func() { d.runApiece(call) })
	} else {
		out.Err = b.do(call)
	}
	if out.Err == nil {
		out = call.Outcome()
	}
	b.free(call)
	return out
}
