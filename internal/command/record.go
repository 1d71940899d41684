package command

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/record"
)

// How durable commands come into the table, and from there to the queue.

// begin records a new command, and hands it in.
func (k *keeper) begin(ctx context.Context, t *Task) {
	r := k.runner
	param, err := r.describeDurable(t)
	switch {
	case err != nil:
		t.fail(err)
		return
	case !r.queue.Accept():
		t.fail(r.config.Closed)
		return
	}
	defer r.queue.Release()
	if err := k.record(ctx, t, param); err != nil {
		t.fail(err)
		return
	}
	t.slot.Init(t, context.Background(), 0) // only Cancel takes it back
	r.join(t)
}

func (r *Runner) describeDurable(t *Task) (param []byte, err error) {
	if t.id == "" {
		return nil, fmt.Errorf("groupcommit: a command of kind %q has no id; one that is Durable needs an id of 1 to 255 bytes", r.config.Kind)
	}
	return r.describe(t)
}

// record inserts the command, unless there is one with its id.
func (k *keeper) record(ctx context.Context, t *Task, param []byte) error {
	r := k.runner
	if r.handles(ctx) {
		return errWaitsForItself
	}
	now := time.Now()
	text, args := r.table.Pending(k.row(t, param, now), k.owner, now.Add(r.config.Lease))
	n, err := rowsOf(r.host.DB().ExecContext(r.host.WithoutID(ctx), text, args...))
	t.recorded, t.inserted = err == nil, n == 1
	return err
}

func rowsOf(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (k *keeper) row(t *Task, param []byte, now time.Time) record.Row {
	row := record.Row{ID: t.id, Key: t.key, Param: param, Created: now}
	if d := k.runner.config.Timeout; d > 0 {
		row.Timeout = now.Add(d)
	}
	return row
}

// Add records a command in a transaction of the caller's. No task waits for its outcome.
func (r *Runner) Add(ctx context.Context, tx *sql.Tx, t *Task) error {
	switch {
	case r.keeper == nil:
		return fmt.Errorf("groupcommit: Add: commands of kind %q are not Durable, which is an option of Handle", r.config.Kind)
	case tx == nil:
		return fmt.Errorf("groupcommit: Add: the *sql.Tx is nil")
	}
	param, err := r.describeDurable(t)
	if err != nil {
		return err
	}
	ctx = r.host.WithoutID(ctx)
	text, args := r.table.Pending(r.keeper.row(t, param, time.Now()), "", time.Time{})
	n, err := rowsOf(tx.ExecContext(ctx, text, args...))
	if err != nil {
		return err
	}
	if n == 0 {
		found, err := r.table.Read(ctx, tx, []string{t.id})
		if err != nil {
			return err
		}
		switch row, ok := found[t.id]; {
		case !ok:
			return record.Hidden(t.id)
		case row.Key != t.key:
			return engine.Mismatch(t.id)
		}
	}
	r.host.Added()
	return nil
}

// mostRecords is how often a command is recorded whose row is deleted each time before it can be read.
const mostRecords = 5

// launch hands in a command that is recorded, and that no other task in this process has.
func (k *keeper) launch(t *Task, accepted bool) {
	r := k.runner
	for range mostRecords {
		if t.inserted {
			k.hand(t, accepted)
			return
		}
		found, err := r.table.Read(r.closing, r.host.DB(), []string{t.id})
		if err != nil {
			t.fail(t.pending(err))
			return
		}
		switch row, ok := found[t.id]; {
		case !ok: // it was settled, and has been deleted since
			param, err := t.typed.Param()
			if err == nil {
				err = k.record(r.closing, t, param)
			}
			if err != nil {
				t.fail(err)
				return
			}
		case row.State.Done() || row.Key != t.key:
			t.replay(row)
			t.Settle()
			return
		case row.Owner == k.owner:
			k.hand(t, accepted)
			return
		default:
			k.await(t)
			return
		}
	}
	t.fail(record.Hidden(t.id))
}
