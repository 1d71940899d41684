package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// How durable commands end that no handler has ended, and how they are waited for.

// leavePending answers commands that somebody is to try again.
func (k *keeper) leavePending(batch []*call, cause error) {
	ids := make([]string, len(batch))
	for i, c := range batch {
		ids[i] = c.ID()
		c.SetOutcome(engine.Answer{Err: &PendingError{ID: c.ID(), Cause: cause}})
	}
	k.commander.table.Shelve(k.commander.closing, k.commander.db.virtual, ids, time.Now()) // if not, the lease ends by itself
}

// blameless reports an error that is none of the commands' that it came to: they are to be tried again, as long as it takes.
func (m *commander) blameless(err error) bool {
	return m.db.transient(err) || errors.Is(err, driver.ErrBadConn) || m.traits.Environment != nil && m.traits.Environment(err)
}

// reject records the end of commands whose handler has failed for good.
func (k *keeper) reject(batch []*call, cause error) {
	m := k.commander
	rows := make([]ledger.Row, len(batch))
	ids := make([]string, len(batch))
	value := m.rejectionOf(cause)
	for i, c := range batch {
		ids[i] = c.ID()
		rows[i] = ledger.Row{ID: c.ID(), State: durable.Rejected, Value: value}
	}
	ctx := context.Background()
	n, err := m.table.Settle(ctx, m.db.virtual, rows)
	var found map[string]ledger.Row
	if err == nil && n < int64(len(batch)) { // somebody else was faster with some
		found, err = m.table.Read(ctx, m.db.virtual, ids)
	}
	if err != nil {
		k.leavePending(batch, errors.Join(cause, err))
		return
	}
	for _, c := range batch {
		if r, ok := found[c.ID()]; ok && (r.State != durable.Rejected || string(r.Value) != string(value)) {
			m.replay(c, r)
		} else {
			c.Answer(nil, cause)
		}
	}
}

func (m *commander) cancel(ctx context.Context, id string) error {
	switch {
	case m.keeper == nil:
		return fmt.Errorf("groupcommit: Cancel of %q: commands of kind %q are not Durable, which is an option of Handle", id, m.table.Kind)
	case handledBy(ctx) == m.db:
		return errWaitsForItself
	}
	if err := m.db.keeps(id); err != nil {
		return err
	}
	if !m.batch.accept() {
		return ErrClosed
	}
	defer m.batch.active.Done()
	ctx = virtual.WithoutID(ctx)
	found, err := m.table.Read(ctx, m.db.virtual, []string{id})
	if err != nil {
		return err
	}
	if found[id].Kind != m.table.Kind { // it may be there, and be another's
		return fmt.Errorf("%w: %q, of kind %q", durable.ErrNotFound, id, m.table.Kind)
	}
	if _, err := m.keeper.store.Cancel(ctx, durable.CompleteRequest{ID: id}); err != nil {
		return err
	}
	m.keeper.mend(id)
	m.keeper.rounds.Soon()
	return nil
}

func (m *commander) recover(ctx context.Context) error {
	if m.keeper == nil {
		return fmt.Errorf("groupcommit: Recover: commands of kind %q are not Durable, which is an option of Handle", m.table.Kind)
	}
	if handledBy(ctx) == m.db {
		return errWaitsForItself
	}
	k, before := m.keeper, time.Now()
	k.rounds.Soon()
	for {
		left, broken, err := k.left(ctx, before)
		if m.closing.Err() != nil {
			return ErrClosed
		}
		if err != nil {
			return err
		}
		if !left {
			return errors.Join(broken...)
		}
		pause := time.NewTimer(askEvery / 2)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-m.closing.Done():
			pause.Stop()
			return ErrClosed
		}
	}
}

// left reports whether there are commands that were recorded before a time and are to be carried out, and the errors of
// those that cannot be.
func (k *keeper) left(ctx context.Context, before time.Time) (left bool, broken []error, err error) {
	k.mu.Lock()
	known := make(map[string]error, len(k.broken))
	for id, err := range k.broken {
		known[id] = err
	}
	k.mu.Unlock()
	ids, err := k.commander.table.Waiting(ctx, k.commander.db.virtual, before, len(known)+1)
	for _, id := range ids {
		if e, ok := known[id]; ok {
			broken = append(broken, e)
		} else {
			left = true
		}
	}
	return left, broken, err
}
