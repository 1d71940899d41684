package command

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/repeat"
)

// What a program asks of durable commands, beside [Runner.Go].

// Add records a command in a transaction of the caller's. No task waits for its outcome.
func (r *Runner) Add(ctx context.Context, tx *sql.Tx, t *Task) error {
	switch {
	case r.keeper == nil:
		return r.kind.notDurable("Add")
	case tx == nil:
		return fmt.Errorf("groupcommit: Add: the *sql.Tx is nil")
	}
	param, err := t.describe()
	if err != nil {
		return err
	}
	ctx = r.kind.host.WithoutID(ctx)
	n, err := r.keeper.insert(ctx, tx, t, param, "")
	if err != nil {
		return err
	}
	if n == 0 {
		found, err := r.kind.table.Read(ctx, tx, []string{t.id})
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
	r.kind.host.Added()
	return nil
}

// Cancel takes a durable command back.
func (r *Runner) Cancel(ctx context.Context, id string) error {
	host := r.kind.host
	switch {
	case r.keeper == nil:
		return r.kind.notDurable(fmt.Sprintf("Cancel of %q", id))
	case handledBy(ctx) == host:
		return errWaitsForItself
	}
	if err := host.Keeps(id); err != nil {
		return err
	}
	if !r.queue.Accept() {
		return r.kind.errors.Closed
	}
	defer r.queue.Release()
	ctx = host.WithoutID(ctx)
	found, err := r.kind.table.Read(ctx, host.DB(), []string{id})
	if err != nil {
		return err
	}
	if found[id].Kind != r.kind.name { // it may be there, and be another kind's
		return fmt.Errorf("%w: %q, of kind %q", durable.ErrNotFound, id, r.kind.name)
	}
	if _, err := r.keeper.Store.Cancel(ctx, durable.CompleteRequest{ID: id}); err != nil {
		return err
	}
	r.keeper.broken.take(id)
	r.keeper.soon()
	return nil
}

// Recover returns when all durable commands that were recorded before are settled, by this process or another. The error has
// those of the commands that cannot be.
func (r *Runner) Recover(ctx context.Context) error {
	switch {
	case r.keeper == nil:
		return r.kind.notDurable("Recover")
	case handledBy(ctx) == r.kind.host:
		return errWaitsForItself
	}
	before := time.Now()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closing, cancel)()
	r.keeper.soon()
	for {
		left, broken, err := r.keeper.left(ctx, before)
		switch {
		case r.closing.Err() != nil:
			return r.kind.errors.Closed
		case err != nil:
			return err
		case !left:
			return errors.Join(broken...)
		case !repeat.Pause(waiting, askEvery/2):
			return cmp.Or(ctx.Err(), r.kind.errors.Closed)
		}
	}
}

// left reports whether there are commands that were recorded before a time and are to be carried out, and the errors of
// those that cannot be.
func (k *keeper) left(ctx context.Context, before time.Time) (left bool, broken []error, err error) {
	known := k.broken.all()
	ids, err := k.kind.table.Waiting(ctx, k.kind.db(), before, len(known)+1)
	for _, id := range ids {
		if e, ok := known[id]; ok {
			broken = append(broken, e)
		} else {
			left = true
		}
	}
	return left, broken, err
}
