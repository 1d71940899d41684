package groupcommit

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/internal/ledger"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// How durable commands come into the table, and from there to the batcher.

// beginDurable records a new command, and hands it in.
func (m *commander) beginDurable(ctx context.Context, p *Promise) {
	c := &p.call
	param, err := m.describeDurable(c)
	switch {
	case err != nil:
		p.reject(err)
		return
	case !m.batch.accept():
		p.reject(ErrClosed)
		return
	}
	defer m.batch.active.Done()
	if err := m.keeper.record(ctx, c, param); err != nil {
		p.reject(err)
		return
	}
	c.SetContext(context.Background()) // only Cancel takes it back
	m.depart(p)
}

func (m *commander) describeDurable(c *call) (param []byte, err error) {
	if c.ID() == "" {
		return nil, fmt.Errorf("groupcommit: a command of kind %q has no id; one that is Durable needs an id of 1 to 255 bytes", m.table.Kind)
	}
	return m.describe(c)
}

// record inserts the command, unless there is one of its id.
func (k *keeper) record(ctx context.Context, c *call, param []byte) error {
	m := k.commander
	if handledBy(ctx) == m.db {
		return errWaitsForItself
	}
	now := time.Now()
	text, args := m.table.Pending(k.row(c, param, now), k.owner, now.Add(k.lease()))
	n, err := rowsOf(m.db.virtual.ExecContext(virtual.WithoutID(ctx), text, args...))
	c.task.recorded, c.task.inserted = err == nil, n == 1
	return err
}

func rowsOf(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (k *keeper) row(c *call, param []byte, now time.Time) ledger.Row {
	r := ledger.Row{ID: c.ID(), Key: c.Fingerprint(), Param: param, Created: now}
	if d := k.commander.limits.handling.timeout; d > 0 {
		r.Timeout = now.Add(d)
	}
	return r
}

// add records a command in a transaction of the caller's.
func (m *commander) add(ctx context.Context, tx *sql.Tx, c *call) error {
	switch {
	case m.keeper == nil:
		return fmt.Errorf("groupcommit: Add: commands of kind %q are not Durable, which is an option of Handle", m.table.Kind)
	case tx == nil:
		return fmt.Errorf("groupcommit: Add: the *sql.Tx is nil")
	}
	param, err := m.describeDurable(c)
	if err != nil {
		return err
	}
	ctx = virtual.WithoutID(ctx)
	text, args := m.table.Pending(m.keeper.row(c, param, time.Now()), "", time.Time{})
	n, err := rowsOf(tx.ExecContext(ctx, text, args...))
	if err != nil {
		return err
	}
	if n == 0 {
		found, err := m.table.Read(ctx, tx, []string{c.ID()})
		if err != nil {
			return err
		}
		switch r, ok := found[c.ID()]; {
		case !ok:
			return hidden(c.ID())
		case r.Key != c.Fingerprint():
			return mismatch(c.ID())
		}
	}
	m.db.added.Store(true)
	return nil
}

// wakeKeepers is called after a COMMIT. Commands may have been added by that transaction, or by one that is still open: these
// are found in a later round.
func (d *database) wakeKeepers() {
	if !d.added.CompareAndSwap(true, false) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.commanders {
		if m.keeper != nil {
			m.keeper.rounds.Soon()
		}
	}
}

// mostRecords is how often a command is recorded whose row is deleted each time before it can be read.
const mostRecords = 5

// launch hands in a command that is recorded, and that nobody else in this process has.
func (k *keeper) launch(p *Promise) {
	m, c := k.commander, &p.call
	for range mostRecords {
		if c.task.inserted {
			k.hand(p)
			return
		}
		found, err := m.table.Read(m.closing, m.db.virtual, []string{c.ID()})
		if err != nil {
			p.reject(&PendingError{ID: c.ID(), Cause: err})
			return
		}
		switch r, ok := found[c.ID()]; {
		case !ok: // it was settled, and has been deleted since
			param, err := c.task.typed.param()
			if err == nil {
				err = k.record(m.closing, c, param)
			}
			if err != nil {
				p.reject(err)
				return
			}
		case r.State.Done() || r.Key != c.Fingerprint():
			m.replay(c, r)
			p.settle()
			return
		case r.Owner == k.owner:
			k.hand(p)
			return
		default:
			k.await(p)
			return
		}
	}
	p.reject(hidden(c.ID()))
}

func hidden(id string) error {
	return fmt.Errorf("groupcommit: id %q: groupcommit_promises neither takes a row with it nor shows one; a trigger or a policy may hide it", id)
}
