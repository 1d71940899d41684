package pgx_test

import (
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// The server cannot see this as a deadlock: who waits for whom is known in the program only.
func TestAGoroutineWithALockMayExecWhileAnotherWaitsForThatLock(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]groupcommit.Option{
		"default":        nil,
		"one writer":     {groupcommit.Writers(1)},
		"no lock bounds": {groupcommit.LockTimeout(0)},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, opts...)
			r.seed(2)
			tx, err := r.db.Begin()
			require.NoError(t, err)
			_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 1")
			require.NoError(t, err)
			waits := make(chan answer)
			go func() { waits <- r.do(touch(1)) }()
			r.eventually("the call waits", func() bool {
				return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == "1"
			})
			require.Equal(t, answer{rows: 1}, r.do(insert(9)))
			require.NoError(t, tx.Commit())
			require.Equal(t, answer{rows: 1}, bounded.Receive(t, "the call that waited is answered", waits))
			require.Equal(t, "held.", r.value("SELECT v FROM rows WHERE k = 1"))
		})
	}
}
