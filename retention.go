package groupcommit

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/repeat"
)

// sweepAfter is the longest rest between two steps of a sweep of promises that are kept for so long.
func sweepAfter(retention time.Duration) time.Duration {
	return max(time.Millisecond, min(retention/4, time.Minute))
}

// sweep begins the sweep of promises that are older than the retention. An error is dropped, because the next step tries
// again.
func (d *database) sweep(t *engine.Traits) *repeat.Repeater {
	keep := d.limits.keep
	q := tableTurns{d.Pool.DB(), d.Writer, t}
	s := record.Sweep{Dialect: record.Of(d.dialect), Age: keep}
	return repeat.Start(sweepAfter(keep), func(ctx context.Context) time.Duration {
		start := time.Now()
		more, err := s.Step(ctx, q)
		if err != nil {
			return 0
		}
		return sweepRest(keep, time.Since(start), s.Pieces(), more)
	})
}

// sweepRest is the rest after a step that took so long, in a table of so many pieces. A round takes a quarter of the
// retention, in even steps, or as long as the shortest rests take together. So does the first one, where the number is not
// known, because the program may not run for long; and so does a piece with more to delete.
func sweepRest(keep, took time.Duration, pieces int, more bool) time.Duration {
	rest := min(repeat.Rest(took), sweepAfter(keep))
	if pieces == 0 || more {
		return rest
	}
	return max(rest, min(keep/4/time.Duration(pieces), time.Minute))
}
