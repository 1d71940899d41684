package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/command"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A database stands behind one sql.Open of ours. It has the groups and what they stand on, the calls in flight, the ledger and the
// runners of commands. It knows how it is opened and closed.
type database struct {
	groups

	parent driver.Connector
	dsn    string // without our options

	// virtual hands out our own connections, for the library's own use of the database as a program: handlers' transactions.
	virtual *sql.DB

	// inFlight are the calls with an id that are under way in this process.
	inFlight *flight.Map[engine.Answer]

	// Written once, before Traits, which the first physical connection sets.
	ledger  durable.Store   // nil without Promises
	dialect durable.Dialect // of the ledger's table

	mu      sync.Mutex // guards the setting of Traits, and the rest
	engine  Engine
	closed  bool
	opening *opening         // nil unless a caller is opening the database
	sweeper *repeat.Repeater // deletes old promises; nil if none are deleted

	runners []*command.Runner // of commands; guarded by mu, too
	added   atomic.Bool       // a command was recorded in a transaction, and no runner knows of it
}

func newDatabase(parent driver.Connector, dsn string, l limits) *database {
	d := &database{parent: parent, dsn: dsn, engine: l.engine, inFlight: flight.New[engine.Answer](l.keep)}
	d.limits = l
	d.DurableReads = l.durableReads
	d.Pool = physical.New(physical.Config{
		Connector: parent, Open: d.openSession, TakeTurn: d.turnToOpen, Refresh: d.refresh, NoRoom: d.noRoom, Most: l.physical,
	})
	d.virtual = sql.OpenDB(virtualConnector{d})
	d.virtual.SetMaxIdleConns(l.maxQueue)
	return d
}

// open learns the database's traits from the first physical connection. See ready.
func (d *database) open(ctx context.Context) (_ *engine.Traits, err error) {
	l, err := d.Pool.Borrow(ctx, physical.Use{})
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
	d.setUp(t)
	if t.OpenWrites {
		d.Pool.OpenInTurn()
	}
	if t.Pooled {
		d.Pool.KeepNone()
	}
	if d.Apiece {
		warn(t)
	}
	d.Traits.Store(t)
	if d.ledger != nil && d.limits.keep > 0 {
		d.sweeper = d.sweep(t)
	}
	return t, nil
}

// close drains the batchers and closes all pools. Only the first call does.
func (d *database) close() error {
	d.mu.Lock()
	closed, sweeper, runners := d.closed, d.sweeper, d.runners
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	d.Pool.Drain()
	sweeper.Stop()
	for _, r := range runners { // before the groups: runners need them
		r.Close()
	}
	d.closeGroups()
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

// keeps returns the error of an id that cannot be kept.
func (d *database) keeps(id string) error {
	if !d.limits.promises {
		return fmt.Errorf("groupcommit: id %q: the database keeps no promises; open it with Promises() or %spromises=on", id, prefix)
	}
	return durable.CheckID(id)
}

// wakeRunners is called after a COMMIT. That transaction may have added commands. A transaction that is still open may have,
// too: a later round of their runner finds those.
func (d *database) wakeRunners() {
	if !d.added.CompareAndSwap(true, false) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runners {
		r.Wake()
	}
}
