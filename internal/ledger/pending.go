package ledger

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Pending is the statement, and its arguments, that records a command which is to be run: leased to owner until then, or
// to nobody if owner is empty. It affects one row, or none if the id is taken.
func (t *Table) Pending(r Row, owner string, until time.Time) (text string, args []any) {
	var lease, end, timeout any
	if owner != "" {
		lease, end = owner, until.UnixMilli()
	}
	if !r.Timeout.IsZero() {
		timeout = r.Timeout.UnixMilli()
	}
	return `INSERT INTO groupcommit_promises (id, state, create_key, kind, param, timeout, created_at, lease_owner, lease_until)
		VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
		[]any{r.ID, []byte(r.Key), t.Kind, r.Param, timeout, r.Created.UnixMilli(), lease, end}
}

// Hold returns which of the ids are still pending and leased to owner, and keeps them so until the transaction ends. It waits
// for nobody who runs a command: that one has taken the lease before.
func (t *Table) Hold(ctx context.Context, tx durable.Querier, ids []string, owner string, now time.Time) (map[string]bool, error) {
	in, list := t.in(ids)
	lock := ""
	if t.Postgres {
		lock = " ORDER BY id FOR UPDATE"
	}
	held, err := strs(tx.QueryContext(ctx, "SELECT id FROM groupcommit_promises WHERE id "+in+
		" AND state = 0 AND lease_owner = $2 AND (timeout IS NULL OR timeout > $3)"+lock, list, owner, now.UnixMilli()))
	mine := make(map[string]bool, len(held))
	for _, id := range held {
		mine[id] = true
	}
	return mine, err
}

// lock has PostgreSQL lock the rows that it chooses, of those that nobody else has locked. In SQLite who writes is alone.
func (t *Table) lock() string {
	if t.Postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// Due is what there is to be done about the commands of a kind.
type Due struct {
	Pending bool // there are some that are to be run
	Late    bool // there are some whose time is over: see [Table.Expire]
	Free    bool // there are some to be had: see [Table.Take]
}

// Look reads what is due. Who has looked need not write in vain.
func (t *Table) Look(ctx context.Context, q durable.Querier, now time.Time) (d Due, err error) {
	const pending = "EXISTS (SELECT 1 FROM groupcommit_promises WHERE state = 0 AND kind = $1"
	rows, err := q.QueryContext(ctx, "SELECT "+pending+"), "+pending+" AND timeout <= $2), "+pending+free+")", t.Kind, now.UnixMilli())
	if err != nil {
		return d, err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&d.Pending, &d.Late, &d.Free)
	}
	return d, cmp.Or(err, rows.Err())
}

// free is the condition that nobody has a command, at the time $2.
const free = " AND (lease_until IS NULL OR lease_until <= $2) AND (timeout IS NULL OR timeout > $2)"

// Take leases at most n commands that nobody has a lease of to owner, and returns them: the oldest, in the order of their
// creation.
func (t *Table) Take(ctx context.Context, q durable.Querier, owner string, now, until time.Time, n int) ([]Row, error) {
	// In a WITH, so that PostgreSQL chooses the rows once.
	rows, err := scan(q.QueryContext(ctx, `WITH oldest AS (SELECT id FROM groupcommit_promises
			WHERE state = 0 AND kind = $1`+free+`
			ORDER BY created_at, id LIMIT $3 `+t.lock()+`)
		UPDATE groupcommit_promises SET lease_owner = $4, lease_until = $5 WHERE id IN (SELECT id FROM oldest) AND state = 0
		RETURNING `+columns, t.Kind, now.UnixMilli(), int64(n), owner, until.UnixMilli()))
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return rows, err
}

// Renew makes the leases that owner has of the ids last until a later time. In PostgreSQL what is being run is left alone: it
// is locked.
func (t *Table) Renew(ctx context.Context, q durable.Querier, ids []string, owner string, until time.Time) error {
	in, list := t.in(ids)
	return affected(q.ExecContext(ctx, `WITH mine AS (SELECT id FROM groupcommit_promises WHERE id `+in+` AND state = 0 AND lease_owner = $2 `+t.lock()+`)
		UPDATE groupcommit_promises SET lease_until = $3 WHERE id IN (SELECT id FROM mine) AND state = 0`, list, owner, until.UnixMilli())).err
}

// Release ends the leases of owner.
func (t *Table) Release(ctx context.Context, q durable.Querier, owner string) error {
	return affected(q.ExecContext(ctx, `UPDATE groupcommit_promises SET lease_owner = NULL, lease_until = NULL
		WHERE state = 0 AND kind = $1 AND lease_owner = $2`, t.Kind, owner)).err
}

// Expire completes the commands whose time is over. In PostgreSQL one that is being run is left alone.
func (t *Table) Expire(ctx context.Context, q durable.Querier, now time.Time) error {
	return affected(q.ExecContext(ctx, `WITH late AS (SELECT id FROM groupcommit_promises WHERE state = 0 AND kind = $1 AND timeout <= $2 `+t.lock()+`)
		UPDATE groupcommit_promises SET state = 4, completed_at = timeout, lease_owner = NULL, lease_until = NULL
		WHERE id IN (SELECT id FROM late) AND state = 0`, t.Kind, now.UnixMilli())).err
}

// Shelve gives up the leases of commands, and leaves them to whoever comes after a time.
func (t *Table) Shelve(ctx context.Context, q durable.Querier, ids []string, until time.Time) error {
	in, list := t.in(ids)
	// The WITH has the parameters appear in their order, by which SQLite numbers them.
	return affected(q.ExecContext(ctx, `WITH these AS (SELECT id FROM groupcommit_promises WHERE id `+in+`)
		UPDATE groupcommit_promises SET lease_owner = NULL, lease_until = $2 WHERE id IN (SELECT id FROM these) AND state = 0`,
		list, until.UnixMilli())).err
}

// Waiting returns the ids of at most n commands that were recorded before a time and are still to be run.
func (t *Table) Waiting(ctx context.Context, q durable.Querier, before time.Time, n int) ([]string, error) {
	return strs(q.QueryContext(ctx, "SELECT id FROM groupcommit_promises WHERE state = 0 AND kind = $1 AND created_at <= $2 LIMIT $3",
		t.Kind, before.UnixMilli(), int64(n)))
}
