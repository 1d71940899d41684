package command

import (
	"context"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// How durable commands end that no handler has ended.

// leavePending answers commands that are to be tried again, by this process or another.
func (k *keeper) leavePending(batch []*Task, cause error) {
	ids := make([]string, len(batch))
	for i, t := range batch {
		ids[i] = t.id
		t.answer(nil, t.pending(cause))
	}
	k.shelve(k.closing, ids, time.Now())
}

// reject records the end of commands whose handler has failed for good.
func (k *keeper) reject(batch []*Task, cause error) {
	table, db := &k.kind.table, k.kind.db()
	rows := make([]record.Row, len(batch))
	ids := make([]string, len(batch))
	value := k.kind.rejection(cause)
	for i, t := range batch {
		ids[i] = t.id
		rows[i] = record.Row{ID: t.id, State: durable.Rejected, Value: value}
	}
	ctx := context.Background()
	n, err := table.Settle(ctx, db, rows)
	var found map[string]record.Row
	if err == nil && n < int64(len(batch)) { // another process was faster with some
		found, err = k.kind.acknowledged(ctx, ids)
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
