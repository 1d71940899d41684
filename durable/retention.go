package durable

import (
	"context"
	"fmt"
	"time"
)

// DeleteCompleted deletes at most limit of the promises that were completed before a time, the oldest first, and returns how
// many. It never deletes a pending promise, not even if its timeout has passed and no operation has seen it since. The id of
// a deleted promise is free: the next request under it is a first one again. So keep promises for longer than any caller
// repeats a request.
//
// Any number of processes may do this at once on one database: on PostgreSQL none waits for another, and each deletes other
// rows. It is one statement; a limit of 1,000 or so keeps it from holding up other writers. It also asks the database for
// its dialect. The table must be there: see Prepare.
//
// Each call reads the whole table, in order to find the oldest promises: Prepare makes no index on the time of completion,
// because every promise would have to keep it up. A program that calls this often should make one:
//
//	CREATE INDEX IF NOT EXISTS groupcommit_promises_completed
//		ON groupcommit_promises (completed_at) WHERE completed_at IS NOT NULL
func DeleteCompleted(ctx context.Context, q Querier, before time.Time, limit int) (n int64, err error) {
	d, err := limited(ctx, q, limit)
	if err != nil {
		return 0, err
	}
	return d.deleteCompleted(ctx, q, "$1", before.UnixMilli(), limit)
}

// DeleteOlder is DeleteCompleted for promises that were completed longer ago than age. The age is by the server's clock on
// PostgreSQL, which is the same for all programs, and by this machine's clock on SQLite. The promises of calls have their
// times from the same clock; those of a Store have them from its program's clock.
func DeleteOlder(ctx context.Context, q Querier, age time.Duration, limit int) (n int64, err error) {
	d, err := limited(ctx, q, limit)
	if err != nil {
		return 0, err
	}
	if d == PostgreSQL {
		return d.deleteCompleted(ctx, q, "(extract(epoch FROM statement_timestamp()) * 1000)::bigint - $1::bigint", age.Milliseconds(), limit)
	}
	return d.deleteCompleted(ctx, q, "$1", time.Now().Add(-age).UnixMilli(), limit)
}

func limited(ctx context.Context, q Querier, limit int) (Dialect, error) {
	if limit < 1 {
		return 0, fmt.Errorf("durable: the limit of promises to delete is %d; it must be 1 or more", limit)
	}
	return dialectOf(ctx, q)
}

// deleteCompleted deletes the promises that were completed before a time. before is an expression of the parameter $1.
func (d Dialect) deleteCompleted(ctx context.Context, q Querier, before string, param int64, limit int) (n int64, err error) {
	lock := ""
	if d == PostgreSQL {
		lock = "FOR UPDATE SKIP LOCKED"
	}
	// The WITH makes PostgreSQL choose the rows once. A plain subquery in a join may choose rows again and again, each time
	// those that are not locked yet, and exceed the limit.
	res, err := q.ExecContext(ctx, `
		WITH old AS (
			SELECT id FROM groupcommit_promises WHERE completed_at < `+before+` AND id <> '' ORDER BY completed_at LIMIT $2 `+lock+`
		)
		DELETE FROM groupcommit_promises WHERE id IN (SELECT id FROM old)`, param, limit)
	if err != nil {
		return 0, fmt.Errorf("durable: deleting old promises: %w", err)
	}
	return res.RowsAffected()
}
