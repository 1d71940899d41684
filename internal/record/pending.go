package record

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Pending is the statement, and its arguments, that records a command which is to be run: leased to owner until then, or
// to no process if owner is empty. It affects one row, or none if the id is taken.
func (t *Table) Pending(r Row, owner string, until time.Time) (text string, args []any) {
	s := t.Dialect.Pending(t.Kind, r, owner, until)
	return s.Text, s.Args
}

// Hold returns those of the ids that are still pending and leased to owner, with their keys, and keeps them so until the
// transaction ends. It does not wait for another process that runs one of them: that process has taken the lease before.
func (t *Table) Hold(ctx context.Context, tx durable.Querier, ids []string, owner string, now time.Time) (map[string]durable.Key, error) {
	rows, err := query(ctx, tx, t.Dialect.Hold(ids, owner, now))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	held := make(map[string]durable.Key)
	for rows.Next() {
		var id string
		var key []byte
		if err := rows.Scan(&id, &key); err != nil {
			return nil, err
		}
		held[id] = durable.Key(key)
	}
	return held, rows.Err()
}

// Due is what there is to be done about the commands of a kind.
type Due struct {
	Pending bool // there are some that are to be run
	Late    bool // there are some whose time is over: see [Table.Expire]
	Free    bool // there are some to be had: see [Table.Take]
}

// Look reads what is due. It saves writes that would find nothing to do.
func (t *Table) Look(ctx context.Context, q durable.Querier, now time.Time) (d Due, err error) {
	rows, err := query(ctx, q, t.Dialect.Look(t.Kind, now))
	if err != nil {
		return d, err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&d.Pending, &d.Late, &d.Free)
	}
	return d, cmp.Or(err, rows.Err())
}

// Take leases at most n commands that no process has leased to owner, and returns them: the oldest, in the order of their
// creation.
func (t *Table) Take(ctx context.Context, q durable.Querier, owner string, now, until time.Time, n int) ([]Row, error) {
	rows, err := scan(query(ctx, q, t.Dialect.Take(t.Kind, owner, now, until, n)...))
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return rows, err
}

// Renew makes the leases that owner has of the ids last until a later time. In PostgreSQL what is being run is left alone: it
// is locked.
func (t *Table) Renew(ctx context.Context, q durable.Querier, ids []string, owner string, until time.Time) error {
	_, err := exec(ctx, q, t.Dialect.Renew(ids, owner, until))
	return err
}

// Release ends the leases of owner.
func (t *Table) Release(ctx context.Context, q durable.Querier, owner string) error {
	_, err := exec(ctx, q, t.Dialect.Release(t.Kind, owner))
	return err
}

// Expire completes the commands whose time is over. In PostgreSQL one that is being run is left alone.
func (t *Table) Expire(ctx context.Context, q durable.Querier, now time.Time) error {
	_, err := exec(ctx, q, t.Dialect.Expire(t.Kind, now))
	return err
}

// Shelve gives up the leases of commands, which any process may then take after a time.
func (t *Table) Shelve(ctx context.Context, q durable.Querier, ids []string, until time.Time) error {
	_, err := exec(ctx, q, t.Dialect.Shelve(ids, until))
	return err
}

// Waiting returns the ids of at most n commands that were recorded before a time and are still to be run.
func (t *Table) Waiting(ctx context.Context, q durable.Querier, before time.Time, n int) ([]string, error) {
	return strs(query(ctx, q, t.Dialect.Waiting(t.Kind, before, n)))
}
