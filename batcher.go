package groupcommit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// A batcher is the runner of one queue: it runs the queue's groups of Execs, as many at a time as the queue has lanes. A group
// takes one transaction, or several if one of its calls fails in a way that ends the transaction:
//
//	group → commit ─ committed  → each call has its answer
//	           ├─ rolled back → the culprit alone, the others as a group again: see group.Redo
//	           ├─ refused     → each call gets the error
//	           └─ unknown     → calls with an id run again alone: their claim tells; the others get an OutcomeUnknownError
//
// A call that must not hold up the others is put off: its own caller runs it when the group is over.
type batcher struct {
	of    *groups
	turn  *turn.Turn // where there is one writer: one leader at a time uses it
	queue *group.Queue[exec]
	spare sync.Pool // of *[]*engine.Call, for the groups that are run

	durable func() error // waits until the group that was committed last is durable; the holder of the turn uses it
}

// An exec is one Exec on its way through a group.
type exec struct {
	engine.Call
	slot     group.Slot[exec]
	home     *virtual.Conn // of a blocking Exec; nil for a promise
	lead     func() error  // of a query without an id: see Lead of virtual.Exec
	detached bool          // it is a promise's: no caller waits for it
}

func newBatcher(g *groups, lanes int) *batcher {
	l := &g.limits
	b := &batcher{of: g, turn: turn.New()}
	limits := group.Limits[exec]{MaxLen: l.maxLen, MaxBytes: l.maxBytes, MaxQueue: l.maxQueue, MaxDelay: l.maxDelay, Lanes: lanes, Singly: g.singly, Closed: ErrClosed}
	if l.onGroup != nil {
		limits.OnGroup = g.tell
	}
	b.queue = group.New(b, limits)
	return b
}

// Enter takes the writer's turn.
func (b *batcher) Enter(ctx context.Context, since time.Time) error {
	return b.of.TakeTurn(ctx, b.turn, nil, since)
}

// Leave ends the turn.
func (b *batcher) Leave() { b.of.Writer.Leave(b.turn) }

// Patience is the database's: how long a call may wait for others.
func (b *batcher) Patience() (time.Duration, error) { return b.of.patience() }

// overtime is how long the first group may keep other calls waiting, where calls have no order. From then on it is known how long
// groups take. With Writers(1) it is how long any lone call may.
const overtime = 100 * time.Millisecond

// Overtime is how long the first group, or a lone call, may keep the lead. On a database with one writer there is no limit, because calls are
// executed in their order.
func (b *batcher) Overtime() time.Duration {
	if b.of.abreast {
		return overtime
	}
	return 0
}

// Room is how many connections there may be.
func (b *batcher) Room() int { return b.of.Pool.Room() }

// Run runs one group, or one call as the plain driver does.
func (b *batcher) Run(execs []*exec) (r group.Report) {
	if len(execs) == 1 {
		b.of.countLone()
		b.runInLead(execs[0])
		return r
	}
	r.Reruns = group.Redo(execs, !b.of.abreast, func(execs []*exec) group.Blame { return b.runGroup(execs, &r) }, b.runOne)
	return r
}

// End says whether a call was put off.
func (b *batcher) End(e *exec) group.End {
	if e.IsPutOff() {
		return group.PutOff
	}
	return group.Answered
}

// appendCalls appends the execs as a session sees them.
func appendCalls(calls []*engine.Call, execs []*exec) []*engine.Call {
	for _, e := range execs {
		calls = append(calls, &e.Call)
	}
	return calls
}

// runGroup runs calls as one group. If the engine had to roll back, runGroup returns the call that is to blame. A single call
// that is left of a group runs by itself.
func (b *batcher) runGroup(execs []*exec, r *group.Report) group.Blame {
	if len(execs) == 1 {
		b.runOne(execs[0])
		return group.Over
	}
	spare, ok := b.spare.Get().(*[]*engine.Call)
	if !ok {
		spare = new([]*engine.Call)
	}
	calls := appendCalls((*spare)[:0], execs)
	defer func() {
		clear(calls)
		*spare = calls
		b.spare.Put(spare)
	}()
	out := b.commit(execs, calls)
	if durable := b.durable; out.Verdict == engine.Committed && durable != nil {
		b.durable = nil
		took, err := b.of.settle(durable, b.turn)
		if err != nil {
			out = engine.Outcome{Verdict: engine.Unknown, Err: err}
			calls = slices.DeleteFunc(calls, hasFailed)
		}
		out.Commit += took
	}
	switch out.Verdict {
	case engine.Committed:
		r.Commit, r.Members = out.Commit, out.Members
	case engine.RolledBack:
		if out.Culprit < 0 {
			reset(calls)
			return group.AnyOf
		}
		culprit := calls[out.Culprit].Outcome()
		reset(calls)
		if execs[out.Culprit].lead != nil && culprit.Panicked { // it would do so again, on a connection that no session looks after
			calls[out.Culprit].SetOutcome(culprit)
		}
		if out.Goexit {
			calls[out.Culprit].PutOff() // only its own caller may run it
		}
		return group.Blame(out.Culprit)
	case engine.Refused:
		answerAll(calls, out.Err)
	case engine.Unknown:
		unknown(calls, out.Err)
	}
	return group.Over
}

// hasFailed reports that a call of a group that was committed has an error of its own, which stays the answer whatever becomes of the
// commit. What is recorded of an id is part of the commit.
func hasFailed(c *engine.Call) bool { return c.Err() != nil && c.ID() == "" && !c.IsPutOff() }

// reset makes the answers of an attempt void.
func reset(calls []*engine.Call) {
	for _, c := range calls {
		c.Reset()
	}
}

// runOne runs a call of a group by itself. Where calls have no order, runOne puts the call off, so that no other call waits
// for it. It puts a query without an id off, too: its rows are for its own connection. One that has panicked has its answer.
func (b *batcher) runOne(e *exec) {
	switch {
	case e.IsPutOff(), e.lead != nil && e.Outcome().Panicked:
	case b.of.abreast, e.lead != nil:
		e.PutOff()
	default:
		b.runInLead(e)
	}
}

// commit commits a group. A panic of the engine itself becomes every call's error, with the transaction's outcome unknown.
func (b *batcher) commit(execs []*exec, calls []*engine.Call) (out engine.Outcome) {
	engine.Catch(func() { out = b.commitUntilKnown(execs, calls) }, func(p *PanicError) {
		out = engine.Outcome{Verdict: engine.Unknown, Err: p}
		answerAll(calls, &OutcomeUnknownError{Cause: p}) // runtime.Goexit does not come back to runGroup
	})
	return out
}

// unknown answers the calls of a group whose outcome is unknown. A call with an id is run again: its claim will find out.
func unknown(calls []*engine.Call, err error) {
	for _, c := range calls {
		switch {
		case c.IsPutOff():
		case c.ID() != "":
			c.PutOff()
			c.Doubt(err)
		default:
			c.Answer(nil, engine.InDoubt("", err, c.Context().Err()))
		}
	}
}

func answerAll(calls []*engine.Call, err error) {
	for _, c := range calls {
		c.Answer(nil, err) // one that was put off runs still, and is answered anew
	}
}
