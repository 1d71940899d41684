package sqlite3_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

// The rate of replays by a program that has been started anew, which is what ids are for, against that of executions.
func TestAttackRateOfReplaysAfterARestart(t *testing.T) {
	for _, n := range []int{10_000, 20_000} {
		dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_synchronous=FULL&groupcommit_promises=on"
		db := ours(t, dsn, "CREATE TABLE a (k INTEGER PRIMARY KEY, name TEXT)")
		round := func() (rate float64, replayed int64) {
			var all sync.WaitGroup
			var next, again atomic.Int64
			start := time.Now()
			for range 1024 {
				all.Go(func() {
					for {
						k := next.Add(1)
						if k > int64(n) {
							return
						}
						res, err := db.ExecContext(withID(fmt.Sprint("id ", k)), "INSERT INTO a (name) VALUES (?)", "name")
						require.NoError(t, err)
						if groupcommit.Deduplicated(res) {
							again.Add(1)
						}
					}
				})
			}
			all.Wait()
			return float64(n) / time.Since(start).Seconds(), again.Load()
		}
		fresh, _ := round()
		memory, m := round()
		require.NoError(t, db.Close())
		db = ours(t, dsn)
		require.NoError(t, db.Ping())
		ledger, l := round()
		t.Logf("%d ids: fresh %.0f/s; the same program again %.0f/s (%d replayed, %.1fx); after a restart %.0f/s (%d replayed, %.1fx)", n, fresh, memory, m, memory/fresh, ledger, l, ledger/fresh)
	}
}
