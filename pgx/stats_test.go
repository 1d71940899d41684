package pgx_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

type errorCounts = map[groupcommit.ErrorClass]int64

// failsThrice executes a call that fails by itself, as a promise, and in a group.
func (r *rig) failsThrice(c call) {
	r.Helper()
	require.Error(r, r.do(c).err)
	_, err := groupcommit.Go(background, r.db, c.query, c.args...).Await(background)
	require.Error(r, err)
	got := r.together(logged(1), c, logged(2))
	r.good(got, 1)
	require.Error(r, got[1].err)
}

func TestErrorsAreCountedByTheirClass(t *testing.T) {
	t.Run("a constraint", func(t *testing.T) {
		r := setUp(t)
		r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
		require.Nil(t, r.stats().Errors)
		r.failsThrice(insert(1))
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 3}, r.stats().Errors)
	})
	t.Run("a constraint and a query", func(t *testing.T) {
		r := setUp(t)
		r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
		query := func() error { return r.db.QueryRow("INSERT INTO rows VALUES (1, 'v') RETURNING k").Scan(new(int)) }
		require.Equal(t, "23505", sqlState(query()))
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 1}, r.stats().Errors)
		release := r.hold()
		failed := make(chan error, 1)
		go func() { failed <- query() }()
		r.queued(1)
		neighbour := groupcommit.Go(background, r.db, "INSERT INTO log VALUES (1)")
		release()
		require.Equal(t, "23505", sqlState(bounded.Receive(t, "it is answered", failed)))
		_, err := neighbour.Await(background)
		require.NoError(t, err)
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 2}, r.stats().Errors)
	})
	t.Run("a lock", func(t *testing.T) {
		r := setUp(t)
		r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
		tx, err := r.plain.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.Exec("UPDATE rows SET v = 'w'")
		require.NoError(t, err)
		r.failsThrice(call{"WITH l AS (SELECT k FROM rows FOR UPDATE NOWAIT) INSERT INTO log SELECT k FROM l", nil})
		require.Equal(t, errorCounts{groupcommit.ErrorBusy: 3}, r.stats().Errors)
	})
	t.Run("a mistake", func(t *testing.T) {
		r := setUp(t)
		r.failsThrice(call{"INSERT INTO nowhere VALUES (1)", nil})
		require.Equal(t, errorCounts{groupcommit.ErrorOther: 3}, r.stats().Errors)
	})
	t.Run("a statement_timeout", func(t *testing.T) {
		r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("statement_timeout", "50ms")})
		require.Equal(t, "57014", sqlState(r.do(call{"INSERT INTO log SELECT 1 FROM pg_sleep(60)", nil}).err))
		require.Equal(t, errorCounts{groupcommit.ErrorCanceled: 1}, r.stats().Errors)
	})
	t.Run("a context that ends", func(t *testing.T) {
		r := setUp(t)
		ctx, cancel := context.WithCancel(background)
		left := make(chan error, 1)
		go func() {
			_, err := r.db.ExecContext(ctx, "INSERT INTO log SELECT 1 FROM pg_sleep(60)")
			left <- err
		}()
		r.eventually("it is executed", func() bool {
			return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == "1"
		})
		cancel()
		require.ErrorIs(t, bounded.Receive(t, "it is answered", left), context.Canceled)
		require.Equal(t, errorCounts{groupcommit.ErrorCanceled: 1}, r.stats().Errors)
	})
	t.Run("a server that cannot be reached", func(t *testing.T) {
		r, p := proxied(t)
		r.noSpare()
		r.exec(r.db, "INSERT INTO log VALUES (1)")
		p.Refuse(true)
		p.CutAll()
		require.Error(t, r.do(insert(1)).err)
		_, err := groupcommit.Go(background, r.db, insert(1).query, insert(1).args...).Await(background)
		require.Error(t, err)
		require.Equal(t, errorCounts{groupcommit.ErrorConnection: 2}, r.stats().Errors)
	})
}

func TestATablesFileThatIsGoneIsAnErrorOfTheStorage(t *testing.T) {
	t.Parallel()
	s := pgtest.New(t, pgtest.Options{})
	r := setUpOn(t, s.DSN(), nil)
	r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
	file := filepath.Join(r.value("SHOW data_directory"), r.value("SELECT pg_relation_filepath('rows')"))
	r.exec(r.plain, "CHECKPOINT")
	require.NoError(t, os.Remove(file))
	a := r.do(insert(2)) // by a connection that has not opened the file yet
	require.Equal(t, "58P01", sqlState(a.err))
	require.Equal(t, errorCounts{groupcommit.ErrorStorage: 1}, r.stats().Errors)
}

func TestUnknownOutcomesAreCountedByWhatHasMadeThemUnknown(t *testing.T) {
	r, p := proxied(t, groupcommit.MaxTime(2*time.Second))
	r.noSpare()
	release := r.begin(logs(3)...)
	p.OnClient(func(m proxy.Message) proxy.Action {
		if !m.Commit {
			return proxy.Pass
		}
		p.Refuse(true) // nobody can be asked
		return proxy.CutAfterForward
	})
	for i, a := range release() {
		r.unknown(a.err, i)
	}
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConnection: 3}, Unknown: 3}, r.stats().Ends)
	p.Refuse(false)
}

// overtaken is a rig with an update that another transaction overtakes, at the level of isolation that does not allow it.
func overtaken(t *testing.T, opts ...groupcommit.Option) (r *rig, err error) {
	r = setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_transaction_isolation", "repeatable read")}, opts...)
	r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("UPDATE rows SET v = 'w'")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- r.do(call{"UPDATE rows SET v = v || 'x'", nil}).err }()
	r.eventually("it waits", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == "1"
	})
	require.NoError(t, tx.Commit())
	return r, bounded.Receive(t, "it is answered", ended)
}

func TestARetryIsCountedAndItsErrorIsNot(t *testing.T) {
	r, err := overtaken(t)
	require.NoError(t, err)
	require.Equal(t, groupcommit.Ends{Retries: 1}, r.stats().Ends)
}

func TestAGroupThatFindsItsConnectionStaleIsRetried(t *testing.T) {
	r, p := proxied(t)
	r.good(r.together(logs(3)...))
	release := r.begin(logs(3)...)
	p.CutAll()
	r.good(release())
	ends := r.stats().Ends
	require.Positive(t, ends.Retries)
	require.Nil(t, ends.Errors)
}

func TestATransactionThatLostIsBusyWhereNothingIsTriedAgain(t *testing.T) {
	r, err := overtaken(t, groupcommit.Retry(groupcommit.Never))
	require.Equal(t, "40001", sqlState(err))
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorBusy: 1}}, r.stats().Ends)
}

func TestAReplayOfARecordedViolationIsAReplayAndAViolation(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	r.exec(r.plain, "INSERT INTO rows VALUES (1, 'v')")
	refused := func(db *sql.DB) error {
		_, err := db.ExecContext(groupcommit.WithID(background, "refused"), insert(1).query, insert(1).args...)
		return err
	}
	require.Equal(t, "23505", sqlState(refused(r.db)))
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConstraint: 1}}, r.stats().Ends)
	r.forget()
	require.ErrorAs(t, refused(r.db), new(*groupcommit.RejectedError))
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConstraint: 1}, Replays: 1}, r.stats().Ends)
}
