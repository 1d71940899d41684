package command

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// How durable commands come into the table, and from there to the queue.

// record inserts the command, unless there is one with its id.
func (k *keeper) record(ctx context.Context, t *Task, param []byte) error {
	if handledBy(ctx) == k.kind.host {
		return errWaitsForItself
	}
	n, err := k.insert(k.kind.host.WithoutID(ctx), k.kind.db(), t, param, k.kind.owner)
	t.recorded, t.inserted = err == nil, n == 1
	return err
}

// insert is record's statement. The command is leased to an owner; to none if that is "". It returns how many rows there are more.
func (k *keeper) insert(ctx context.Context, q durable.Querier, t *Task, param []byte, owner string) (n int64, err error) {
	now, row := time.Now(), t.row()
	row.Param, row.Created = param, now
	if k.Timeout > 0 {
		row.Timeout = now.Add(k.Timeout)
	}
	var until time.Time
	if owner != "" {
		until = now.Add(k.Lease)
	}
	text, args := k.kind.table.Pending(row, owner, until)
	res, err := q.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// mostRecords is how often a command is recorded whose row is deleted each time before it can be read.
const mostRecords = 5

// launch hands in a command that is recorded, and that no other task in this process has.
func (k *keeper) launch(t *Task, accepted bool) {
	for range mostRecords {
		if t.inserted {
			k.hand(t, accepted)
			return
		}
		found, err := k.kind.acknowledged(k.closing, []string{t.id})
		if err != nil {
			t.fail(t.pending(err))
			return
		}
		switch row, ok := found[t.id]; {
		case !ok: // it was settled, and has been deleted since
			param, err := t.typed.Param()
			if err == nil {
				err = k.record(k.closing, t, param)
			}
			if err != nil {
				t.fail(err)
				return
			}
		case row.State.Done() || row.Key != t.key:
			t.replay(row)
			t.Settle()
			return
		case row.Owner == k.kind.owner:
			k.hand(t, accepted)
			return
		default:
			k.await(t)
			return
		}
	}
	t.fail(record.Hidden(t.id))
}
