package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A database is what one sql.Open of ours stands on: the pools of physical connections, the writer, the batcher. It
// is the batcher's environment.
type database struct {
	parent driver.Connector
	dsn    string // without our options
	limits limits

	// Two inner pools over the wrapped connector. Groups have one of their own, so that no limit and no holder of
	// transactions can keep the group of another goroutine waiting for a connection. Where the database lives in one
	// connection, everything uses the groups' pool.
	writers *sql.DB
	leases  *sql.DB

	batcher *batcher
	texts   texts

	traits     atomic.Pointer[Traits] // set by the first physical connection
	generation atomic.Int64           // of the physical connections that are not known to be stale
	writer     *writer                // written once, before traits
	groupTurn  *turn                  // the batcher's; one leader at a time uses it
	mu         sync.Mutex             // guards the setting of traits, and closed
	closed     bool
}

// idleLeases is how many physical connections are kept for the next lease. database/sql's own default of 2 would open
// and close one for almost every query of a busy program.
const idleLeases = 8

func newDatabase(parent driver.Connector, dsn string, l limits) *database {
	d := &database{parent: parent, dsn: dsn, limits: l, groupTurn: newTurn()}
	d.writers = sql.OpenDB(physicalConnector{parent, d})
	d.writers.SetMaxOpenConns(1)
	d.leases = sql.OpenDB(physicalConnector{parent, d})
	d.leases.SetMaxIdleConns(idleLeases)
	if l.physical != nil {
		l.physical(d.leases)
	}
	d.batcher = newBatcher(d, l)
	return d
}

// ready returns what the database is like, from its first physical connection; it opens that one if nobody has.
func (d *database) ready(ctx context.Context) (*Traits, error) {
	if t := d.traits.Load(); t != nil {
		return t, nil
	}
	l, err := borrow(ctx, d.writers)
	if err != nil {
		return nil, err
	}
	defer l.giveBack()
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.traits.Load(); t != nil {
		return t, nil
	}
	if d.closed {
		return nil, ErrClosed
	}
	t := l.session.Traits()
	if t.OneConn {
		t.OneWriter = true
		d.writers.SetConnMaxLifetime(0)
		d.writers.SetConnMaxIdleTime(0)
	}
	if t.OneWriter {
		d.writer = joinWriter(t.WriterKey)
	}
	d.traits.Store(&t)
	return &t, nil
}

// lease borrows a physical connection for anything but a group.
func (d *database) lease(ctx context.Context, t *Traits) (lease, error) {
	if t.OneConn {
		return borrow(ctx, d.writers)
	}
	return borrow(ctx, d.leases)
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

// enter, leave, alone and commit are the batcher's environment.

func (d *database) enter(ctx context.Context, since time.Time) error {
	return d.takeTurn(ctx, d.groupTurn, false, since)
}

func (d *database) patience() (time.Duration, error) {
	t := d.traits.Load()
	if t.Busy == nil {
		return 0, nil
	}
	return t.BusyWait, t.Busy
}

func (d *database) leave() { d.writer.leave(d.groupTurn) }

func (d *database) alone(c *Call) {
	d.aloneOnce(c)
	// database/sql runs a blocking Exec again; a promise has nobody behind it.
	for try := 0; try < retries && c.promise != nil && errors.Is(c.out.err, driver.ErrBadConn); try++ {
		d.aloneOnce(c)
	}
}

func (d *database) aloneOnce(c *Call) {
	l, err := borrow(c.ctx, d.writers)
	if err != nil {
		c.Answer(nil, err)
		return
	}
	ok := false
	defer func() { // also of runtime.Goexit
		if ok {
			l.done(c.out.err)
		} else {
			l.discard() // nobody knows what the panic left open
		}
	}()
	ok = c.Try(l.session.Alone)
}

// retries is how often a group looks for a connection that is not stale: database/sql's own number.
const retries = 2

func (d *database) commit(calls []*Call) (out Outcome) {
	for range retries {
		out = d.commitOnce(calls)
		if out.Verdict != Refused || !errors.Is(out.Err, driver.ErrBadConn) {
			return out
		}
	}
	return d.commitOnce(calls)
}

func (d *database) commitOnce(calls []*Call) Outcome {
	ctx := context.Background()
	l, err := borrow(ctx, d.writers)
	if err != nil {
		return Outcome{Verdict: Refused, Err: err}
	}
	out := Outcome{Broken: true} // what a panic leaves
	defer func() {
		if out.Broken {
			l.discard()
		} else {
			l.giveBack()
		}
	}()
	out = l.session.Group(ctx, calls)
	out.Broken = out.Broken || errors.Is(out.Err, driver.ErrBadConn)
	return out
}

// close drains the batcher and closes everything. Only the first call does.
func (d *database) close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	d.batcher.close()
	err := errors.Join(d.leases.Close(), d.writers.Close())
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
