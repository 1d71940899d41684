package pgx_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

func touch(k int) call { return call{"UPDATE rows SET v = v || '.' WHERE k = $1", []any{k}} }

// seed makes rows 0 to n-1.
func (r *rig) seed(n int) {
	r.Helper()
	r.exec(r.plain, "INSERT INTO rows (k, v) SELECT i, '' FROM generate_series(0, $1::int - 1) i", n)
}

func TestACallThatWaitsForALockWaitsAloneAndTheOthersCommit(t *testing.T) {
	t.Parallel()
	patience := groupcommit.LockTimeout(20 * time.Millisecond)
	bothModes(t, func(t *testing.T, mode groupcommit.Option) { setUp(t, mode, patience).oneWaits() })
	t.Run("simple protocol", func(t *testing.T) { simply(t, nil, patience).oneWaits() })
}

// oneWaits has one of a group's calls wait for a lock.
func (r *rig) oneWaits() {
	r.Helper()
	r.seed(5)
	tx, err := r.plain.Begin()
	require.NoError(r, err)
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 2")
	require.NoError(r, err)

	release := r.hold()
	var promises []*groupcommit.Promise
	for k := range 5 {
		c := touch(k)
		promises = append(promises, groupcommit.Go(background, r.db, c.query, c.args...))
	}
	release()
	for k, p := range promises {
		if k != 2 {
			_, err := p.Await(background)
			require.NoError(r, err, "row %d", k)
		}
	}
	select {
	case <-promises[2].Done():
		r.Fatal("the row is locked")
	default:
	}
	r.good(r.together(insert(10), insert(11))) // and the next groups go on
	require.NoError(r, tx.Commit())
	res, err := promises[2].Await(background)
	require.NoError(r, err)
	rows, err := res.RowsAffected()
	require.NoError(r, err)
	require.EqualValues(r, 1, rows)
	require.Equal(r, "held.", r.value("SELECT v FROM rows WHERE k = 2"))
}

func TestACallThatWaitsAloneEndsWithItsOwnContext(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.LockTimeout(20*time.Millisecond))
	r.seed(3)
	tx, err := r.plain.Begin()
	require.NoError(r, err)
	defer tx.Rollback()
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 1")
	require.NoError(r, err)
	release := r.hold()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	waits := groupcommit.Go(ctx, r.db, touch(1).query, 1)
	first := groupcommit.Go(background, r.db, touch(0).query, 0)
	release()
	_, err = first.Await(background)
	require.NoError(r, err)
	cancel()
	_, err = waits.Await(background)
	require.ErrorIs(r, err, context.Canceled)
}

func TestADeadlockWithAnotherSessionIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.LockTimeout(0))
	r.seed(2)
	tx, err := r.plain.Begin()
	require.NoError(r, err)
	_, err = tx.Exec("SET LOCAL deadlock_timeout = '1h'") // the group is the victim
	require.NoError(r, err)
	_, err = tx.Exec("UPDATE rows SET v = 'theirs' WHERE k = 1")
	require.NoError(r, err)
	release := r.begin(touch(0), touch(1), insert(7))
	theirs := make(chan error)
	go func() {
		r.eventually("the group waits", func() bool {
			return r.value("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND query LIKE 'UPDATE%' AND datname = current_database()") == "1"
		})
		_, err := tx.Exec("UPDATE rows SET v = 'theirs' WHERE k = 0")
		if err == nil {
			err = tx.Commit()
		}
		theirs <- err
	}()
	got := release()
	require.NoError(r, bounded.Receive(t, "the other session has committed", theirs))
	r.good(got)
	require.Equal(r, "3", r.value("SELECT count(*) FROM rows"))
	require.Equal(r, "theirs.", r.value("SELECT v FROM rows WHERE k = 1"))
}

func TestAStatementTimeoutIsItsOwnCallersOnly(t *testing.T) {
	for _, mode := range []string{"transaction", "autocommit"} {
		t.Run(mode, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			slowly := pgtest.Param("statement_timeout", "150")
			r := setUpOn(t, dsn, []pgtest.DSNOption{slowly, pgtest.Param("groupcommit_mode", mode)})
			sleeps := call{"INSERT INTO log (k) SELECT 99 FROM pg_sleep(5)", nil}
			impatient := r.open("pgx", pgtest.With(dsn, slowly))
			_, want := impatient.Exec(sleeps.query)
			got := r.together(logged(1), sleeps, logged(2))
			r.good(got, 1)
			require.EqualError(r, got[1].err, want.Error())
			r.once(2)
		})
	}
}

func TestASlowTextIsLearnedAndRunsByItself(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.exec(r.plain, "CREATE FUNCTION slowly(k bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN k; END $$")
	slow := call{"INSERT INTO log (k) VALUES (slowly($1))", []any{1}}
	for range 6 { // what it costs is seen
		r.good(r.together(logged(1), slow, logged(2)))
	}
	// Only the slow text waits now.
	tx, err := r.plain.Begin()
	require.NoError(r, err)
	_, err = tx.Exec("CREATE OR REPLACE FUNCTION slowly(k bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(1); RETURN k; END $$")
	require.NoError(r, err)
	require.NoError(r, tx.Commit())
	conn, err := r.plain.Conn(background)
	require.NoError(r, err)
	defer conn.Close()
	_, err = conn.ExecContext(background, "SELECT pg_advisory_lock(1)")
	require.NoError(r, err)
	release := r.hold()
	waits := groupcommit.Go(background, r.db, slow.query, 3)
	goes := groupcommit.Go(background, r.db, logged(4).query, 4)
	release()
	_, err = goes.Await(background)
	require.NoError(r, err)
	select {
	case <-waits.Done():
		r.Fatal("it did not wait")
	default:
	}
	_, err = conn.ExecContext(background, "SELECT pg_advisory_unlock(1)")
	require.NoError(r, err)
	_, err = waits.Await(background)
	require.NoError(r, err)
}

func TestATextThatKeepsFailingIsAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.seed(1)
	var calls []call
	for range 40 {
		calls = append(calls, insert(0))
	}
	for range 2 {
		r.together(calls...)
	}
	got := r.together(logged(1), logged(2), insert(0), insert(100), insert(0), insert(101))
	r.good(got, 2, 4)
	r.sameError(insert(0), got[4].err)
	r.once(2)
}

func TestSeveralWritersLoseNothingAndDoNothingTwice(t *testing.T) {
	t.Parallel()
	r := setUp(t, sideBySide, groupcommit.MaxLen(50))
	const callers, each = 400, 10
	var done sync.WaitGroup
	errs := make(chan error, callers*each)
	for who := range callers {
		done.Go(func() {
			for n := range each {
				_, err := r.db.Exec("INSERT INTO log (k) VALUES ($1)", who*each+n)
				errs <- err
				if n%5 == 0 { // rows that the groups of several writers lock
					r.db.Exec("INSERT INTO rows (k, v) VALUES ($1, 'x') ON CONFLICT (k) DO UPDATE SET v = 'y'", n)
				}
			}
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	for range callers * each {
		require.NoError(r, bounded.Receive(t, "all calls are answered", errs))
	}
	r.once(callers * each)
}

func TestCallsThatWaitForALockLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.LockTimeout(20*time.Millisecond))
	r.seed(1)
	tx, err := r.db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 0")
	require.NoError(t, err)
	const blocked = 30 // more than have room at once
	free := r.hold()
	var waiting sync.WaitGroup
	for range blocked {
		waiting.Go(func() { r.do(touch(0)) })
	}
	r.queued(blocked)
	free()
	r.eventually("all of them wait", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == "30"
	})
	_, err = groupcommit.Go(background, r.db, insert(101).query, insert(101).args...).Await(background)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	bounded.Wait(t, "the calls that waited are answered", waiting.Wait)
}

// An error that may not come again is nobody's answer, whichever way its call went.
func TestATransientErrorOfAStatementIsTriedAgain(t *testing.T) {
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.exec(r.plain, "CREATE SEQUENCE tried")
		r.exec(r.plain, `CREATE FUNCTION once_not(k bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('tried') = 1 THEN RAISE serialization_failure; END IF; RETURN k; END $$`)
		r.good(r.together(logged(0), call{"INSERT INTO log (k) SELECT once_not($1)", []any{1}}, logged(2)))
		r.once(3)
		require.NotEqual(t, "1", r.value("SELECT last_value FROM tried"))
	})
}

// In the autocommit pipeline a call has had its own transaction, and its time in it.
func TestACallThatItsStatementTimeoutEndsInThePipelineIsNotExecutedAgain(t *testing.T) {
	r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("statement_timeout", "150"), pgtest.Param("groupcommit_mode", "autocommit")})
	r.exec(r.plain, "CREATE SEQUENCE tried")
	got := r.together(logged(0), call{"INSERT INTO log (k) SELECT n + length(pg_sleep($1)::text) FROM nextval('tried') n", []any{5.0}}, logged(1))
	r.good(got, 1)
	require.Equal(t, "57014", sqlState(got[1].err))
	require.Equal(t, "1", r.value("SELECT last_value FROM tried"))
	r.once(2)
}
