package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// How durable commands end that no handler has ended, and how callers wait until all have.

// leavePending answers commands that are to be tried again, by this process or another.
func (k *keeper) leavePending(batch []*Task, cause error) {
	ids := make([]string, len(batch))
	for i, t := range batch {
		ids[i] = t.id
		t.answer(nil, t.pending(cause))
	}
	k.shelve(k.runner.closing, ids, time.Now())
}

// reject records the end of commands whose handler has failed for good.
func (k *keeper) reject(batch []*Task, cause error) {
	table, db := &k.runner.table, k.runner.host.DB()
	rows := make([]record.Row, len(batch))
	ids := make([]string, len(batch))
	value := k.runner.rejection(cause)
	for i, t := range batch {
		ids[i] = t.id
		rows[i] = record.Row{ID: t.id, State: durable.Rejected, Value: value}
	}
	ctx := context.Background()
	n, err := table.Settle(ctx, db, rows)
	var found map[string]record.Row
	if err == nil && n < int64(len(batch)) { // another process was faster with some
		found, err = table.Read(ctx, db, ids)
	}
	if err != nil {
		k.leavePending(batch, errors.Join(cause, err))
		return
	}
	for _, t := range batch {
		if row, ok := found[t.id]; ok && (row.State != durable.Rejected || string(row.Value) != string(value)) {
			t.replay(row)
		} else {
			t.answer(nil, cause)
		}
	}
}

// Cancel takes a durable command back.
func (r *Runner) Cancel(ctx context.Context, id string) error {
	switch {
	case r.keeper == nil:
		return fmt.Errorf("groupcommit: Cancel of %q: commands of kind %q are not Durable, which is an option of Handle", id, r.config.Kind)
	case r.handles(ctx):
		return errWaitsForItself
	}
	if err := r.host.Keeps(id); err != nil {
		return err
	}
	if !r.queue.Accept() {
		return r.config.Closed
	}
	defer r.queue.Release()
	ctx = r.host.WithoutID(ctx)
	found, err := r.table.Read(ctx, r.host.DB(), []string{id})
	if err != nil {
		return err
	}
	if found[id].Kind != r.config.Kind { // it may be there, and be another kind's
		return fmt.Errorf("%w: %q, of kind %q", durable.ErrNotFound, id, r.config.Kind)
	}
	if _, err := r.config.Store.Cancel(ctx, durable.CompleteRequest{ID: id}); err != nil {
		return err
	}
	r.keeper.mend(id)
	r.keeper.soon()
	return nil
}

// Recover returns when all durable commands that were recorded before are settled, by this process or another. The error has
// those of the commands that cannot be.
func (r *Runner) Recover(ctx context.Context) error {
	if r.keeper == nil {
		return fmt.Errorf("groupcommit: Recover: commands of kind %q are not Durable, which is an option of Handle", r.config.Kind)
	}
	if r.handles(ctx) {
		return errWaitsForItself
	}
	k, before := r.keeper, time.Now()
	k.soon()
	for {
		left, broken, err := k.left(ctx, before)
		if r.closing.Err() != nil {
			return r.config.Closed
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
		case <-r.closing.Done():
			pause.Stop()
			return r.config.Closed
		}
	}
}

// left reports whether there are commands that were recorded before a time and are to be carried out, and the errors of
// those that cannot be.
func (k *keeper) left(ctx context.Context, before time.Time) (left bool, broken []error, err error) {
	k.mu.Lock()
	known := maps.Clone(k.broken)
	k.mu.Unlock()
	ids, err := k.runner.table.Waiting(ctx, k.runner.host.DB(), before, len(known)+1)
	for _, id := range ids {
		if e, ok := known[id]; ok {
			broken = append(broken, e)
		} else {
			left = true
		}
	}
	return left, broken, err
}
