package pgx_test

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

// Do the batches of one type come one after the other, as Handle says?
func TestAttackHandlersOfOneTypeAtOnce(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	var now, most atomic.Int32
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		n := now.Add(1)
		most.Store(max(most.Load(), n))
		defer now.Add(-1)
		if b[0].Value.K%4 == 0 {
			return errOops
		}
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep(0.02)")
		return err
	}, groupcommit.MaxLen(2), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 3)))
	var done sync.WaitGroup
	for i := range 40 {
		done.Go(func() { cs.Do(background, "", entry{i}) })
	}
	done.Wait()
	require.EqualValues(t, 1, most.Load(), "handlers of one type at the same time")
}
