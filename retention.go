package groupcommit

import (
	"context"
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// sweepMost is how many promises are deleted in one transaction.
const sweepMost = 1000

// sweepAfter is the time between two deletions of promises that are kept for so long.
func sweepAfter(retention time.Duration) time.Duration {
	return max(time.Millisecond, min(retention/4, time.Minute))
}

// deleteOld deletes promises that are older than the retention, up to a limit, and returns how long to rest if it reached
// the limit. It drops an error, because the next round deletes what is left.
func (d *database) deleteOld(ctx context.Context, pool *sql.DB) time.Duration {
	t := turn.New()
	start := time.Now()
	if d.TakeTurn(ctx, t, nil, start) != nil {
		return 0
	}
	defer d.Writer.Leave(t)
	n, err := d.dialect.DeleteOlder(physical.InTurn(ctx, yielding{&d.groups, t}), pool, d.limits.keep, sweepMost)
	if err != nil || n < sweepMost {
		return 0
	}
	return min(repeat.Rest(time.Since(start)), sweepAfter(d.limits.keep))
}
