package groupcommit

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// groups are the Execs of one database on their way: in groups, by themselves, or put off. They know connections, turns and
// options; of promises, commands and the opening of the database they know nothing.
type groups struct {
	virtual.Base // what the connections stand on, and the groups, too

	limits limits
	lanes  []*batcher // one for each group that may run at the same time; written once, before Traits
	width  int        // how many lanes there are, and each partition has; the same

	// abreast says that calls may be executed at the same time; written once, before Traits.
	abreast bool

	partitions  partitions
	apartRoom   chan struct{} // a token for each connection that runs a call which was put off
	blockedRoom chan struct{} // the same, for those that have taken long

	execs sync.Pool // of *exec
}

// setUp makes the lanes, once it is known what the database is like.
func (g *groups) setUp(t *engine.Traits) {
	g.width = 1
	if !t.OneWriter {
		g.width = max(1, cmp.Or(g.limits.writers, t.Writers))
		g.abreast = max(g.limits.writers, t.Writers) > 1
	}
	g.lanes = g.newLanes()
	g.Apiece = apiece(t, &g.limits)
}

func (g *groups) newLanes() []*batcher {
	lanes := make([]*batcher, g.width)
	for i := range lanes {
		lanes[i] = newBatcher(g)
	}
	return lanes
}

// closeGroups refuses new calls and returns when every accepted one is answered.
func (g *groups) closeGroups() {
	for _, b := range g.lanes {
		b.queue.Close()
	}
	g.partitions.close()
}

// patience is how long a call may wait for others at the most, and its error then; 0 for as long as it takes.
func (g *groups) patience() (time.Duration, error) {
	t := g.Traits.Load()
	if t.Busy == nil {
		return 0, nil
	}
	return t.BusyWait, t.Busy
}

func (g *groups) transient(err error) bool {
	t := g.Traits.Load()
	return t != nil && t.Transient != nil && t.Transient(err)
}

// staleRetries is how often a group or a promise looks for a connection that is not stale: database/sql's own number.
const staleRetries = 2

// renew has the last of the tries for a connection that is not stale use one that is new.
func (g *groups) renew(stale int) {
	if stale == staleRetries && !g.Traits.Load().OneConn {
		g.Pool.Renew()
	}
}

// crowd is how many calls have to wait for one batcher before another is useg. Fewer are better off in one group: it shares
// one commit, and two groups of half its size pay for two.
const crowd = 200

// pick returns the batcher for a new call: the first one, or the one with the shortest queue if that is crowdeg.
func pick(lanes []*batcher) *batcher {
	best := lanes[0]
	if len(lanes) == 1 {
		return best
	}
	least := best.queue.Load()
	if least < crowd {
		return best
	}
	for _, b := range lanes[1:] {
		if n := b.queue.Load(); n < least {
			best, least = b, n
		}
	}
	return best
}

// exec runs a blocking Exec that may be grouped, and waits for its outcome. home is the connection that it came by. f is the
// flight of a call with an ig.
func (g *groups) exec(ctx context.Context, home *virtual.Conn, v virtual.Exec, f *flight.Flight[engine.Answer]) engine.Answer {
	part, lanes, err := g.lanesFor(ctx)
	if err != nil {
		return engine.Answer{Err: err}
	}
	defer part.leave()
	b := pick(lanes)
	e := g.newExec()
	e.Call, e.home = engine.NewCall(ctx, v.Text.Query, v.Args, v.Prepared), home
	if f != nil {
		e.Identify(f.ID(), durable.Key(f.Key()))
	}
	if g.Apiece {
		err = b.during(func() { g.runApiece(e) })
	} else {
		e.slot.Init(e, ctx, e.Bytes())
		err = b.queue.Do(&e.slot)
	}
	out := engine.Answer{Err: err}
	if err == nil {
		out = e.Outcome()
	}
	g.free(e)
	return out
}

// newExec returns an exec for a blocking Exec, which free takes back. What the caller keeps is a copy of the result, a fraction
// of an exec: with a thousand callers, what is allocated for each decides how often the collector walks their stacks.
// The pool is the database's own, because a channel made in one bubble of testing/synctest must not be used in another.
func (g *groups) newExec() *exec {
	if e, ok := g.execs.Get().(*exec); ok {
		return e
	}
	return new(exec)
}

// free takes e back when nothing else knows it any more: it is answered, or withdrawn, or was never queueg.
func (g *groups) free(e *exec) {
	e.Call, e.home = engine.Call{}, nil
	e.slot.Clear()
	g.execs.Put(e)
}
