package pgx_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program of all kinds of calls: short ones, slow ones, texts that are new each time, rows that several lock, calls that fail,
// contexts that end, promises. A call that was answered without an error has left one row, and one with an error none.
func TestACallHasOneRowOrAnErrorWhateverRunsBesideIt(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode, sideBySide, groupcommit.LockTimeout(50*time.Millisecond))
		r.db.SetMaxIdleConns(keptIdle)
		r.exec(r.plain, "INSERT INTO rows SELECT i, '' FROM generate_series(0, 9) i")
		var next atomic.Int64
		var mu sync.Mutex
		wanted := map[int64]int{}
		call := func(ctx context.Context, query string, args ...any) {
			k := next.Add(1)
			_, err := r.db.ExecContext(ctx, query, append([]any{k}, args...)...)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wanted[k] = 1
			case ctx.Err() != nil: // it may have been executed by then
				wanted[k] = -1
			default:
				wanted[k] = 0
			}
		}
		const each = 150
		var done sync.WaitGroup
		kind := func(goroutines int, f func(i int)) {
			for range goroutines {
				done.Go(func() {
					for i := range each {
						f(i)
					}
				})
			}
		}
		kind(24, func(int) { call(background, "INSERT INTO log (k) VALUES ($1)") })
		kind(4, func(i int) {
			call(background, "INSERT INTO log (k) SELECT $1::bigint FROM pg_sleep($2)", 0.005*float64(i/50%2))
		})
		kind(4, func(i int) { call(background, fmt.Sprintf("INSERT INTO log (k) VALUES ($1) /* %d */", next.Load())) })
		kind(8, func(i int) {
			call(background, "WITH u AS (UPDATE rows SET v = 'x' WHERE k = $2) INSERT INTO log (k) VALUES ($1)", i%10)
		})
		kind(2, func(i int) { call(background, "INSERT INTO log (k) SELECT $1::bigint / (1 - $2::int)", i%2) })
		kind(2, func(i int) {
			ctx, cancel := context.WithTimeout(background, time.Duration(i%5)*time.Millisecond)
			defer cancel()
			call(ctx, "INSERT INTO log (k) VALUES ($1)")
		})
		kind(1, func(int) {
			k := next.Add(1)
			_, err := groupcommit.Go(background, r.db, "INSERT INTO log (k) VALUES ($1)", k).Await(background)
			assert.NoError(t, err)
			mu.Lock()
			wanted[k] = 1
			mu.Unlock()
		})
		bounded.Wait(t, "the program is over", done.Wait)
		rows, err := r.plain.Query("SELECT k, count(*) FROM log GROUP BY k")
		require.NoError(t, err)
		defer rows.Close()
		got := map[int64]int{}
		for rows.Next() {
			var k int64
			var n int
			require.NoError(t, rows.Scan(&k, &n))
			got[k] = n
		}
		for k, n := range wanted {
			if n >= 0 {
				assert.Equal(t, n, got[k], "call %d", k)
			} else {
				assert.LessOrEqual(t, got[k], 1, "call %d", k)
			}
		}
	})
}
