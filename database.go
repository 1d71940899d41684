package groupcommit

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// A database is what one sql.Open of ours stands on: the pools of physical connections, the writer, the batcher. It
// is what the batchers' environment stands on.
type database struct {
	virtual.Base // what its connections stand on, and its groups, too

	parent driver.Connector
	dsn    string // without our options
	limits limits

	// virtual hands out our own connections, to what is ours and does what a program does: handlers' transactions.
	virtual *sql.DB

	flights flights

	partitions partitions

	apartRoom   chan struct{} // a token for each connection that runs a call which was put off
	blockedRoom chan struct{} // the same, for those that have taken long

	// Written once, before Traits, which the first physical connection sets.
	lanes   []*batcher      // one for each group that may run at the same time
	ledger  durable.Store   // nil without Promises
	dialect durable.Dialect // of the ledger's table
	abreast bool            // calls may be executed at the same time
	width   int             // how many lanes there are, and each partition has

	mu      sync.Mutex // guards the setting of Traits, and the rest
	engine  Engine
	closed  bool
	opening *opening         // nil if nobody opens the database now
	sweeper *repeat.Repeater // nil if there is nothing to delete

	commanders []*commander // guarded by mu, too
	added      atomic.Bool  // commands in transactions, which the keepers do not know of
}

func newDatabase(parent driver.Connector, dsn string, l limits) *database {
	if f := l.onGroup; f != nil { // several groups may end at the same time
		var mu sync.Mutex
		l.onGroup = func(g GroupInfo) {
			mu.Lock()
			defer mu.Unlock()
			f(g)
		}
	}
	d := &database{parent: parent, dsn: dsn, limits: l, engine: l.engine, apartRoom: make(chan struct{}, mostApart), blockedRoom: make(chan struct{}, mostBlocked), flights: flights{keep: l.keep}}
	d.Pool = physical.New(physical.Config{Connector: parent, Open: d.openSession, TakeTurn: d.turnToOpen, Refresh: d.refresh, SetUp: l.physical})
	d.virtual = sql.OpenDB(virtualConnector{d})
	d.virtual.SetMaxIdleConns(l.maxQueue)
	return d
}

// crowd is how many calls have to wait for one lane before another is used. Fewer are better off in one group: it shares
// one commit, and two groups of half its size pay for two.
const crowd = 200

// pick returns the batcher for a new call: the first one, or the one with the shortest queue if that is crowded.
func pick(lanes []*batcher) *batcher {
	best := lanes[0]
	if len(lanes) == 1 {
		return best
	}
	least := best.load()
	if least < crowd {
		return best
	}
	for _, b := range lanes[1:] {
		if n := b.load(); n < least {
			best, least = b, n
		}
	}
	return best
}

// open learns from the first physical connection what the database is like. See ready.
func (d *database) open(ctx context.Context) (_ *engine.Traits, err error) {
	l, err := d.Pool.Borrow(ctx, false)
	if err != nil {
		return nil, err
	}
	traits := l.Conn.Session.Traits()
	t := &traits
	if t.OneConn {
		d.Pool.OnlyOne()
	}
	defer func() {
		if err != nil || t.OneConn {
			l.GiveBack(false)
		} else {
			l.HandOver(ctx)
		}
	}()
	t.OneWriter = t.OneWriter || t.OneConn
	var w *turn.Writer
	if t.OneWriter {
		w = turn.Join(t.WriterKey)
		defer func() {
			if err != nil {
				turn.Quit(t.WriterKey)
			}
		}()
	}
	if err := d.openLedger(ctx, t, w, l); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	d.Writer = w
	d.width = 1
	if !t.OneWriter {
		d.width = max(1, cmp.Or(d.limits.writers, t.Writers))
		d.abreast = max(d.limits.writers, t.Writers) > 1
	}
	if t.OpenWrites {
		d.Pool.OpenInTurn()
	}
	d.Pool.KeepWarm(d.width)
	if t.Pooled {
		d.Pool.KeepNone()
	}
	d.lanes = d.newLanes()
	d.warn(t)
	d.Apiece = d.apiece(t)
	d.Traits.Store(t)
	if d.ledger != nil && d.limits.keep > 0 {
		d.sweeper = repeat.Start(sweepAfter(d.limits.keep), func(ctx context.Context) time.Duration { return d.deleteOld(ctx, d.Pool.DB) })
	}
	return t, nil
}

func (d *database) newLanes() []*batcher {
	lanes := make([]*batcher, d.width)
	for i := range lanes {
		lanes[i] = newBatcher(&lane{database: d, turn: turn.New()}, d.limits)
	}
	return lanes
}

// patience is how long a call may wait for others at the most, and its error then; 0 for as long as it takes.
func (d *database) patience() (time.Duration, error) {
	t := d.Traits.Load()
	if t.Busy == nil {
		return 0, nil
	}
	return t.BusyWait, t.Busy
}

// close drains the batcher and closes everything. Only the first call does.
func (d *database) close() error {
	d.mu.Lock()
	closed, sweeper, commanders := d.closed, d.sweeper, d.commanders
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	sweeper.Stop()
	for _, m := range commanders { // before the lanes, which they need
		m.close()
	}
	for _, b := range d.lanes {
		b.close()
	}
	d.partitions.close()
	err := errors.Join(d.virtual.Close(), d.Pool.Close())
	if t := d.Traits.Load(); t != nil && t.OneWriter {
		turn.Quit(t.WriterKey)
	}
	if c, ok := d.parent.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (d *database) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}
