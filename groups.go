package groupcommit

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// groups runs the Execs of one database: in groups, by themselves, or put off. It knows connections, turns and options. It
// does not know promises, commands or the opening of the database.
type groups struct {
	virtual.Base // shared with the connections

	limits limits
	all    *batcher // of the calls that are in no partition; written once, before Traits
	trials *batcher // of those that are on trial; the same

	width   int  // groups that may run at the same time; written once, before Traits
	singly  bool // where groups should run at the same time, each call is better off by itself; the same
	abreast bool // calls have no order, and may be executed at the same time even where that pays nothing; the same

	telling    sync.Mutex // one goroutine at a time calls the program's OnGroup
	partitions partitions
	hint       hint
}

// setUp makes the batcher, once the database's traits are known.
func (g *groups) setUp(t *engine.Traits) {
	g.width = 1
	if !t.OneWriter {
		g.width = max(1, cmp.Or(g.limits.writers, t.Writers))
		g.singly = t.Singly && g.limits.writers == 0
		g.abreast = max(g.limits.writers, t.Writers) > 1 && !g.singly
	}
	g.all, g.trials = newBatcher(g, g.width), newBatcher(g, 1)
	g.Apiece = apiece(t, &g.limits)
}

// closeGroups refuses new calls and returns when every accepted call is answered.
func (g *groups) closeGroups() {
	if g.all != nil {
		g.all.queue.Close()
		g.trials.queue.Close()
	}
	g.partitions.close()
}

// groupPatience is how long a call waits for others where the program waits for no lock. A group is no such lock, but it may be
// waiting for the call: a function that SQL calls may write to its own database.
const groupPatience = 10 * time.Second

// patience is how long a call may wait for others at the most, and its error then; 0 is no limit.
func (g *groups) patience() (time.Duration, error) {
	t := g.Traits.Load()
	if t.Busy == nil {
		return 0, nil
	}
	return cmp.Or(t.BusyWait, groupPatience), t.Busy
}

// use is what a connection is borrowed for by the holder of a turn, where there are turns.
func (g *groups) use(purpose physical.Purpose, t *turn.Turn) physical.Use {
	u := physical.Use{For: purpose, Writing: g.Writer != nil || purpose == physical.Group}
	if g.Writer != nil && t != nil {
		u.Turn = yielding{g, t}
	}
	return u
}

// yielding is a turn that is given up while its holder waits for a connection.
type yielding struct {
	of   *groups
	turn *turn.Turn
}

func (y yielding) Yield() { y.of.Writer.Leave(y.turn) }
func (y yielding) Regain(ctx context.Context) error {
	return y.of.TakeTurn(ctx, y.turn, nil, time.Now())
}

func (g *groups) transient(err error) bool {
	t := g.Traits.Load()
	return t != nil && t.Transient != nil && t.Transient(err)
}

// staleRetries is how often a group or a promise tries again after a stale connection. It is database/sql's own number.
const staleRetries = 2

// renew makes the last of these tries use a new connection.
func (g *groups) renew(stale int) {
	if stale == staleRetries && !g.Traits.Load().OneConn {
		g.Pool.Renew()
	}
}

// run runs a blocking Exec that may be grouped, and returns it with its outcome; free takes it back. home is the connection that
// the Exec came by. f is the flight of a call with an id. After an error the Exec was not executed.
func (g *groups) run(ctx context.Context, home *virtual.Conn, v virtual.Exec, f *flight.Flight[engine.Answer]) (*exec, error) {
	part, b, err := g.batcherFor(ctx)
	if err != nil {
		return nil, err
	}
	defer part.leave()
	e := newExec(home)
	e.Make(ctx, v.Text.Query, v.Args, v.Prepared)
	e.home, e.lead = home, v.Lead
	if v.Rows {
		e.WantRows()
	}
	if f != nil {
		e.Identify(f.ID(), durable.Key(f.Key()))
	}
	if v.Rows && f != nil && !g.Traits.Load().RowsWithID {
		b = nil
		g.Apart.Note(virtual.NoRows)
	} else {
		b = g.way(b, v.Text.Query)
	}
	switch {
	case b != nil:
		e.slot.Init(e, ctx, e.Bytes())
		err = b.queue.Do(&e.slot)
	case e.lead != nil:
		e.PutOff()
	default:
		err = g.all.during(func() { g.runApiece(e) })
	}
	if err != nil {
		e.free()
		return nil, err
	}
	return e, nil
}

// way returns the batcher for a call of a text that would go into b; nil if the call is to run by itself.
func (g *groups) way(b *batcher, query string) *batcher {
	t := g.Traits.Load()
	switch {
	case g.Apiece:
		g.Apart.Note(virtual.Hooked)
		return nil
	case t.Way == nil || !g.abreast:
		return b
	}
	switch way := t.Way(query); {
	case way == engine.Apart:
		g.Apart.Note(virtual.Slow)
		return nil
	case way == engine.OnTrial && b == g.all:
		return g.trials
	}
	return b
}

// newExec returns an exec for a blocking Exec, which free takes back. The caller keeps only a copy of the result, which is a
// fraction of an exec. With a thousand callers, the allocation for each decides how often the collector walks their stacks.
// The connection, which has one call at a time, keeps it for the next one.
func newExec(home *virtual.Conn) *exec {
	if e, ok := home.Spare.(*exec); ok {
		home.Spare = nil
		return e
	}
	return new(exec)
}

// free takes e back when no other goroutine knows it: it is answered, or withdrawn, or was never queued.
func (e *exec) free() {
	home := e.home
	e.Call, e.home, e.lead = engine.Call{}, nil, nil
	e.slot.Clear()
	home.Spare = e
}
