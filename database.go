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

	"github.com/groupcommit/groupcommit/durable"
)

// A database is what one sql.Open of ours stands on: the pools of physical connections, the writer, the batcher. It
// is what the batchers' environment stands on.
type database struct {
	parent driver.Connector
	dsn    string // without our options
	limits limits

	// Two inner pools over the wrapped connector. Groups have one of their own, so that no limit and no holder of
	// transactions can keep the group of another goroutine waiting for a connection. Where the database lives in one
	// connection, everything uses the groups' pool.
	writers *sql.DB
	leases  *sql.DB
	// virtual hands out our own connections, to what is ours and does what a program does: handlers' transactions.
	virtual *sql.DB

	texts   texts
	stmts   openStmts
	flights flights

	partitions partitions

	apartRoom   chan struct{} // a token for each connection that runs a call which was put off
	blockedRoom chan struct{} // the same, for those that have taken long

	traits     atomic.Pointer[Traits] // set by the first physical connection
	generation atomic.Int64           // of the physical connections that are not known to be stale
	writer     *writer                // written once, before traits
	lanes      []*batcher             // the same; one for each group that may run at the same time
	ledger     durable.Store          // the same; nil without Promises
	dialect    durable.Dialect        // the same; of the ledger's table
	abreast    bool                   // the same; calls may be executed at the same time
	altered    atomic.Int64           // changes of the schema that have gone through us
	width      int                    // the same; how many lanes there are, and each partition has

	mu      sync.Mutex // guards the setting of traits, and the rest
	engine  Engine
	closed  bool
	opening *opening  // nil if nobody opens the database now
	sweeper *repeater // nil if there is nothing to delete

	commanders []*commander // guarded by mu, too
	added      atomic.Bool  // commands in transactions, which the keepers do not know of
}

// idleLeases is how many physical connections are kept for the next lease. database/sql's own default of 2 would open
// and close one for almost every query of a busy program.
const idleLeases = 8

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
	d.writers = sql.OpenDB(physicalConnector{parent, d})
	d.writers.SetMaxOpenConns(1) // until it is known what the database is like
	d.leases = sql.OpenDB(physicalConnector{parent, d})
	d.leases.SetMaxIdleConns(idleLeases)
	if l.physical != nil {
		l.physical(d.leases)
	}
	d.virtual = sql.OpenDB(virtualConnector{d})
	d.virtual.SetMaxIdleConns(l.maxQueue)
	return d
}

// engineFor returns the database's engine, which the first physical connection decides.
func (d *database) engineFor(conn driver.Conn) Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		d.engine = findEngine(conn)
	}
	return d.engine
}

func (d *database) settings() Settings {
	return Settings{DSN: d.dsn, Connector: d.parent, Mode: d.limits.mode, LockTimeout: d.limits.lockWait, MaxTime: d.limits.maxTime, Promises: d.limits.promises, spelled: d.limits.spelled, schema: d.altered.Load}
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
func (d *database) open(ctx context.Context) (_ *Traits, err error) {
	l, err := borrow(ctx, d.writers)
	if err != nil {
		return nil, err
	}
	traits := l.session.Traits()
	t := &traits
	l.giveBack()
	t.OneWriter = t.OneWriter || t.OneConn
	var w *writer
	if t.OneWriter {
		w = joinWriter(t.WriterKey)
		defer func() {
			if err != nil {
				leaveWriter(t.WriterKey)
			}
		}()
	}
	if err := d.openLedger(ctx, t, w); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	d.writer = w
	if t.OneConn {
		d.writers.SetConnMaxLifetime(0)
		d.writers.SetConnMaxIdleTime(0)
	}
	d.width = 1
	if !t.OneWriter {
		d.width = max(1, cmp.Or(d.limits.writers, t.Writers))
		d.abreast = max(d.limits.writers, t.Writers) > 1
		d.writers.SetMaxOpenConns(d.width)
		d.writers.SetMaxIdleConns(d.width)
	}
	if t.Pooled {
		d.writers.SetMaxIdleConns(0)
		d.leases.SetMaxIdleConns(0)
	}
	d.lanes = d.newLanes()
	d.warn(t)
	d.traits.Store(t)
	if d.ledger != nil && d.limits.keep > 0 {
		d.sweeper = repeat(sweepAfter(d.limits.keep), func(ctx context.Context) time.Duration { return d.deleteOld(ctx, d.spare(t)) })
	}
	return t, nil
}

func (d *database) newLanes() []*batcher {
	lanes := make([]*batcher, d.width)
	for i := range lanes {
		lanes[i] = newBatcher(&lane{database: d, turn: newTurn()}, d.limits)
	}
	return lanes
}

// spare is the pool for anything but groups.
func (d *database) spare(t *Traits) *sql.DB {
	if t.OneConn {
		return d.writers
	}
	return d.leases
}

// lease borrows a physical connection for anything but a group.
func (d *database) lease(ctx context.Context, t *Traits) (lease, error) {
	return borrow(ctx, d.spare(t))
}

// takeTurn waits for the writer on behalf of a caller that has been waiting since then.
func (d *database) takeTurn(ctx context.Context, t *turn, tentative bool, since time.Time) error {
	if d.writer == nil {
		return nil
	}
	traits := d.traits.Load()
	wait := max(0, traits.BusyWait-time.Since(since))
	return d.writer.take(ctx, t, tentative, wait, traits.Busy)
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
	closed, sweeper, commanders := d.closed, d.sweeper, d.commanders
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	sweeper.stop()
	for _, m := range commanders { // before the lanes, which they need
		m.close()
	}
	for _, b := range d.lanes {
		b.close()
	}
	d.partitions.close()
	err := errors.Join(d.virtual.Close(), d.leases.Close(), d.writers.Close())
	if t := d.traits.Load(); t != nil && t.OneWriter {
		leaveWriter(t.WriterKey)
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
