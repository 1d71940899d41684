package pgx_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// slowly makes a function that takes so many seconds, and returns a call of it.
func (r *rig) slowly(seconds string) call {
	r.Helper()
	r.exec(r.plain, `CREATE OR REPLACE FUNCTION slowly(k bigint) RETURNS bigint LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_sleep(`+seconds+`); RETURN k; END $$`)
	return call{"INSERT INTO log (k) VALUES (slowly($1))", []any{1}}
}

func TestTheFirstGroupOfASlowTextIsEndedBeforeItHasTakenTheSumOfItsCalls(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.LockTimeout(time.Hour)) // which no lock is waited for
	r.good(r.together(logged(1), logged(2), logged(3)))
	c := r.slowly("0.3") // much more than a group pays once, on a busy machine, too
	const calls = 40
	free := r.hold()
	var done sync.WaitGroup
	for range calls {
		done.Go(func() { require.Equal(t, answer{rows: 1}, r.do(c)) })
	}
	r.queued(calls)
	before := len(r.sizes())
	free()
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Contains(t, r.sizes()[before:], calls)
	require.Greater(t, r.ids("log"), calls/2, "each call that was put off has a transaction of its own")
}

// ids is the number of transactions that have written a table's rows.
func (r *rig) ids(table string) (n int) {
	r.Helper()
	require.NoError(r, r.plain.QueryRow("SELECT count(DISTINCT xmin::text) FROM "+table).Scan(&n))
	return n
}

func TestATextThatHasBecomeShortIsGroupedAgain(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		c := r.slowly("0.03")
		for range 6 {
			r.good(r.together(logged(1), c, logged(2)))
		}
		before := len(r.sizes())
		r.good(r.begin(c, c, c, c, c)())
		require.NotContains(t, r.sizes()[before:], 5, "they are apart")

		r.slowly("0")
		var stop atomic.Bool
		var done sync.WaitGroup
		for range 16 {
			done.Go(func() {
				for !stop.Load() {
					r.do(c)
				}
			})
		}
		defer done.Wait()
		defer stop.Store(true)
		r.eventually("they are grouped", func() bool {
			for _, n := range r.sizes()[before:] {
				if n > 3 { // more than are tried
					return true
				}
			}
			return false
		})
	})
}

// cancelled is a rig that counts the statements that the server has cancelled.
func cancelled(t *testing.T, opts ...groupcommit.Option) (r *rig, n *atomic.Int64) {
	n = new(atomic.Int64)
	r, p := proxied(t, opts...)
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Type == 'E' && bytes.Contains(m.Payload, []byte("57014")) {
			n.Add(1)
		}
		return proxy.Pass
	})
	return r, n
}

func TestOfManyCallsThatWaitForOneLockOnlyAFewKeepTheirGroupWaiting(t *testing.T) {
	t.Parallel()
	r, n := cancelled(t, groupcommit.LockTimeout(time.Hour)) // what the group should take is far less
	r.seed(1)
	unlock := r.lock("UPDATE rows SET v = 'held' WHERE k = 0")
	free := r.hold()
	const blocked = 40
	var waiting sync.WaitGroup
	for range blocked {
		waiting.Go(func() { require.Equal(t, answer{rows: 1}, r.do(touch(0))) })
	}
	r.queued(blocked)
	innocent := groupcommit.Go(background, r.db, logged(1).query, 1)
	free()
	_, err := innocent.Await(background)
	got := n.Load()
	unlock()
	require.NoError(t, err)
	require.Positive(t, got)
	require.LessOrEqual(t, got, int64(1+3), "one in the transaction, and three in the pipeline")
	bounded.Wait(t, "the calls that waited are answered", waiting.Wait)
}

func TestATextThatWasInADeadlockGoesByThePipeline(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Param("deadlock_timeout", "2s")}, groupcommit.LockTimeout(0))
	r.seed(9)
	r.good(r.together(touch(7), touch(8)))
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM rows WHERE k IN (7, 8)"), "they share a transaction")

	stranger, err := r.plain.Begin()
	require.NoError(t, err)
	defer stranger.Rollback()
	_, err = stranger.Exec("SET LOCAL deadlock_timeout = '1h'") // the server looks once, and must look at the group when both wait
	require.NoError(t, err)
	_, err = stranger.Exec("UPDATE rows SET v = v WHERE k = 2")
	require.NoError(t, err)
	release := r.begin(touch(1), touch(2), touch(3))
	answers := make(chan []answer)
	go func() { answers <- release() }()
	r.eventually("the group waits", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == "1"
	})
	_, err = stranger.Exec("UPDATE rows SET v = v WHERE k = 1")
	require.NoError(t, err)
	require.NoError(t, stranger.Commit())
	r.good(bounded.Receive(t, "the calls are answered", answers))

	r.good(r.together(touch(4), touch(5), touch(6)))
	require.Equal(t, "3", r.value("SELECT count(DISTINCT xmin::text) FROM rows WHERE k IN (4, 5, 6)"))
}
