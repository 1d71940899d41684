package pgx_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// Who hears of nothing but the context was not executed, and has no record.
func TestContextsThatEndAtAnyMomentLeaveACallWithItsRecordOrNeither(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	const n = 800
	errs := make([]error, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				ctx, cancel := context.WithTimeout(background, time.Duration(k%100)*150*time.Microsecond)
				errs[k] = execID(ctx, r.db, named{fmt.Sprint(k), logged(k)}).err
				cancel()
			}
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
	require.NoError(t, r.db.Close()) // nothing is under way any more
	for k, err := range errs {
		rows, records := r.value("SELECT count(*) FROM log WHERE k = $1", k), r.promises(fmt.Sprintf("id = '%d'", k))
		require.Equal(t, rows, records, "%d: %v", k, err)
		switch {
		case err == nil:
			require.Equal(t, "1", rows, "%d", k)
		case !errors.As(err, new(*groupcommit.OutcomeUnknownError)):
			require.Equal(t, "0", rows, "%d: %v", k, err)
		}
	}
}
