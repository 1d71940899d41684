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
	"github.com/groupcommit/groupcommit/internal/command"
	inflight "github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A database is what one sql.Open of ours stands on: the pools of physical connections, the writer, the batcher. It
// is what the batchers' environment stands on.
type database struct {
	parent driver.Connector
	dsn    string // without our options
	limits limits

	pool *pool // of physical connections
	// virtual hands out our own connections, to what is ours and does what a program does: handlers' transactions.
	virtual *sql.DB

	texts   sqltext.Cache
	shared  settings // of all physical connections
	readers turn.Readers
	stmts   openStmts
	flights flights

	partitions partitions

	apartRoom   chan struct{} // a token for each connection that runs a call which was put off
	blockedRoom chan struct{} // the same, for those that have taken long

	traits     atomic.Pointer[engine.Traits] // set by the first physical connection
	generation atomic.Int64                  // of the physical connections that are not known to be stale
	writer     *turn.Writer                  // written once, before traits
	lanes      []*batcher                    // the same; one for each group that may run at the same time
	ledger     durable.Store                 // the same; nil without Promises
	dialect    durable.Dialect               // the same; of the ledger's table
	abreast    bool                          // the same; calls may be executed at the same time
	altered    atomic.Int64                  // changes of the schema that have gone through us
	width      int                           // the same; how many lanes there are, and each partition has

	mu      sync.Mutex // guards the setting of traits, and the rest
	engine  Engine
	closed  bool
	opening *opening         // nil if nobody opens the database now
	sweeper *repeat.Repeater // nil if there is nothing to delete

	inFlight *inflight.Map[engine.Answer] // the calls with an id that are under way in this process
	runners  []*command.Runner            // of commands; guarded by mu, too
	added    atomic.Bool                  // a command was recorded in a transaction, and no runner knows of it
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
	d := &database{parent: parent, dsn: dsn, limits: l, engine: l.engine, apartRoom: make(chan struct{}, mostApart), blockedRoom: make(chan struct{}, mostBlocked), flights: flights{keep: l.keep}, inFlight: inflight.New[engine.Answer](l.keep)}
	d.pool = newPool(physicalConnector{parent, d}, l.physical)
	d.virtual = sql.OpenDB(virtualConnector{d})
	d.virtual.SetMaxIdleConns(l.maxQueue)
	return d
}

// engineFor returns the database's engine, which the first physical connection decides.
func (d *database) engineFor(conn driver.Conn) Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		d.engine = engine.Find(conn)
	}
	return d.engine
}

func (d *database) settings() engine.Settings {
	return engine.Settings{DSN: d.dsn, Connector: d.parent, Mode: d.limits.mode, LockTimeout: d.limits.lockWait, MaxTime: d.limits.maxTime, Promises: d.limits.promises, Spelling: d.limits.spelled, Schema: d.altered.Load}
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
	l, err := d.pool.borrow(ctx, false)
	if err != nil {
		return nil, err
	}
	traits := l.session.Traits()
	t := &traits
	if t.OneConn {
		d.pool.onlyOne()
	}
	defer func() {
		if err != nil || t.OneConn {
			l.giveBack(false)
		} else {
			l.handOver(ctx)
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
	d.writer = w
	d.width = 1
	if !t.OneWriter {
		d.width = max(1, cmp.Or(d.limits.writers, t.Writers))
		d.abreast = max(d.limits.writers, t.Writers) > 1
	}
	d.pool.openWrites = t.OpenWrites
	d.pool.keepWarm(d.width)
	if t.Pooled {
		d.pool.keepNone()
	}
	d.lanes = d.newLanes()
	d.warn(t)
	d.traits.Store(t)
	if d.ledger != nil && d.limits.keep > 0 {
		d.sweeper = repeat.Start(sweepAfter(d.limits.keep), func(ctx context.Context) time.Duration { return d.deleteOld(ctx, d.pool.DB) })
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

// takeTurn waits for the writer on behalf of a caller that has been waiting since then. See take.
func (d *database) takeTurn(ctx context.Context, t *turn.Turn, enough <-chan struct{}, since time.Time) error {
	if d.writer == nil {
		return nil
	}
	traits := d.traits.Load()
	wait := max(0, traits.BusyWait-time.Since(since))
	return d.writer.Take(ctx, t, enough, wait, traits.Busy)
}

// patience is how long a call may wait for others at the most, and its error then; 0 for as long as it takes.
func (d *database) patience() (time.Duration, error) {
	t := d.traits.Load()
	if t.Busy == nil {
		return 0, nil
	}
	return t.BusyWait, t.Busy
}

// close drains the batcher and closes everything. Only the first call does.
func (d *database) close() error {
	d.mu.Lock()
	closed, sweeper, runners := d.closed, d.sweeper, d.runners
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	sweeper.Stop()
	for _, r := range runners { // before the lanes, which they need
		r.Close()
	}
	for _, b := range d.lanes {
		b.close()
	}
	d.partitions.close()
	err := errors.Join(d.virtual.Close(), d.pool.Close())
	if t := d.traits.Load(); t != nil && t.OneWriter {
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
