package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

type errorCounts = map[groupcommit.ErrorClass]int64

func endsOf(t testing.TB, db *sql.DB) groupcommit.Ends {
	t.Helper()
	s, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	return s.Ends
}

// failsThrice executes a call that fails, by itself and as the second call of a group.
func failsThrice(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.Exec(query, args...)
	require.Error(t, err)
	_, err = groupcommit.Go(background, db, query, args...).Await(background)
	require.Error(t, err)
	group := calls("INSERT INTO a (v) VALUES ('kept')", query, "INSERT INTO a (v) VALUES ('kept')")
	group[1].args = args
	asGroup(t, db, group)
	require.NoError(t, group[0].err)
	require.Error(t, group[1].err)
	require.NoError(t, group[2].err)
}

func TestErrorsAreCountedByTheirClass(t *testing.T) {
	const schema = "CREATE TABLE a (k INTEGER UNIQUE, v)"
	t.Run("a constraint", func(t *testing.T) {
		db := ours(t, dsnOf(t, ""), schema, "INSERT INTO a VALUES (1, 'v')")
		require.Nil(t, endsOf(t, db).Errors)
		failsThrice(t, db, insertRow, 1, "v")
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 3}, endsOf(t, db).Errors)
	})
	t.Run("a constraint behind rows", func(t *testing.T) {
		db := ours(t, dsnOf(t, ""), schema, "INSERT INTO a VALUES (1, 'v')")
		query := func() error { return db.QueryRow(insertRow+" RETURNING k", 1, "v").Scan(new(int)) }
		require.Error(t, query())
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 1}, endsOf(t, db).Errors)
		release := hold(t, db)
		failed := make(chan error, 1)
		go func() { failed <- query() }()
		awaitQueued(t, db, 1)
		neighbour := groupcommit.Go(background, db, "INSERT INTO a (v) VALUES ('kept')")
		awaitQueued(t, db, 2)
		release()
		require.Error(t, bounded.Receive(t, "the query is answered", failed))
		_, err := neighbour.Await(background)
		require.NoError(t, err)
		require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 2}, endsOf(t, db).Errors)
	})
	t.Run("a full disk", func(t *testing.T) {
		_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
			_, err := c.Exec("PRAGMA max_page_count = 20", nil)
			return err
		})
		db := openDB(t, grouped, dsnOf(t, ""), schema)
		failsThrice(t, db, "INSERT INTO a (v) VALUES (zeroblob(500000))")
		require.Equal(t, errorCounts{groupcommit.ErrorStorage: 3}, endsOf(t, db).Errors)
	})
	t.Run("another process that writes", func(t *testing.T) {
		dsn := dsnOf(t, "&_busy_timeout=20")
		db := ours(t, dsn, schema)
		defer startWriter(t, dsn)()
		_, err := db.Exec(insertRow, 1, "v")
		require.Error(t, err)
		_, err = groupcommit.Go(background, db, insertRow, 1, "v").Await(background)
		require.Error(t, err)
		require.Equal(t, errorCounts{groupcommit.ErrorBusy: 2}, endsOf(t, db).Errors)
	})
	t.Run("a context that ends", func(t *testing.T) {
		db := ours(t, dsnOf(t, ""), schema)
		release := hold(t, db)
		defer release()
		ctx, cancel := context.WithCancel(background)
		left := make(chan error, 1)
		go func() {
			_, err := db.ExecContext(ctx, insertRow, 1, "v")
			left <- err
		}()
		awaitQueued(t, db, 1)
		cancel()
		require.ErrorIs(t, bounded.Receive(t, "it is answered", left), context.Canceled)
		ctx, cancel = context.WithTimeout(background, time.Millisecond)
		defer cancel()
		_, err := groupcommit.Go(ctx, db, insertRow, 1, "v").Await(background)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, errorCounts{groupcommit.ErrorCanceled: 2}, endsOf(t, db).Errors)
	})
	t.Run("a mistake", func(t *testing.T) {
		db := ours(t, dsnOf(t, ""), schema)
		failsThrice(t, db, "INSERT INTO nowhere VALUES (1)")
		require.Equal(t, errorCounts{groupcommit.ErrorOther: 3}, endsOf(t, db).Errors)
	})
	t.Run("of none that joins no group", func(t *testing.T) {
		db := ours(t, dsnOf(t, ""), schema, "INSERT INTO a VALUES (1, 'v')")
		_, err := db.ExecContext(groupcommit.NoBatch(background), insertRow, 1, "v")
		require.Error(t, err)
		_, err = groupcommit.Go(groupcommit.NoBatch(background), db, insertRow, 1, "v").Await(background)
		require.Error(t, err)
		require.Nil(t, endsOf(t, db).Errors)
	})
}

func TestAnUnknownOutcomeIsCounted(t *testing.T) {
	dsn := dsnOf(t, "")
	c, err := groupcommit.NewConnector(connector{dsn}, groupcommit.WithEngine(faulty{sqlite3.Engine, true, new(atomic.Bool)}))
	require.NoError(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	exec(t, db, "CREATE TABLE a (k INTEGER UNIQUE, v)")
	release := hold(t, db)
	p, q := groupcommit.Go(background, db, insertRow, 1, "v"), groupcommit.Go(background, db, insertRow, 2, "v")
	awaitQueued(t, db, 2)
	release()
	for _, p := range []*groupcommit.Promise{p, q} {
		_, err := p.Await(background)
		require.ErrorAs(t, err, new(*groupcommit.OutcomeUnknownError))
	}
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorOther: 2}, Unknown: 2}, endsOf(t, db))
}

func TestASyncThatFailsIsAnErrorOfTheStorageAndAnUnknownOutcome(t *testing.T) {
	db, l, _ := durables(t, "")
	l.crowd(t, db)
	l.fails.Store(true)
	defer l.fails.Store(false)
	release := hold(t, db)
	var ps []*groupcommit.Promise
	for range 4 {
		ps = append(ps, groupcommit.Go(background, db, "INSERT INTO t (v) VALUES (1)"))
	}
	awaitQueued(t, db, len(ps))
	release()
	for _, p := range ps {
		_, err := p.Await(background)
		require.ErrorAs(t, err, new(*groupcommit.OutcomeUnknownError))
	}
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorStorage: 4}, Unknown: 4}, endsOf(t, db))
}

func TestReplaysAreCounted(t *testing.T) {
	dsn := dsnOf(t, "&groupcommit_promises=on")
	db := ours(t, dsn, "CREATE TABLE a (k INTEGER UNIQUE, v)")
	insert := func(db *sql.DB, id string, k int) error {
		_, err := db.ExecContext(withID(id), insertRow, k, "v")
		return err
	}
	require.NoError(t, insert(db, "one", 1))
	require.Error(t, insert(db, "refused", 1))
	require.Zero(t, endsOf(t, db).Replays)
	require.NoError(t, insert(db, "one", 1), "from memory")
	_, err := groupcommit.Go(withID("one"), db, insertRow, 1, "v").Await(background)
	require.NoError(t, err)
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConstraint: 1}, Replays: 2}, endsOf(t, db))

	other := ours(t, dsn)
	require.NoError(t, insert(other, "one", 1), "from the record")
	_, err = groupcommit.Go(withID("one"), other, insertRow, 1, "v").Await(background)
	require.NoError(t, err)
	require.ErrorAs(t, insert(other, "refused", 1), new(*groupcommit.RejectedError))
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConstraint: 1}, Replays: 3}, endsOf(t, other))

	_, err = groupcommit.Go(groupcommit.NoBatch(withID("one")), other, insertRow, 1, "v").Await(background)
	require.NoError(t, err)
	require.EqualValues(t, 4, endsOf(t, other).Replays, "once, whichever way it goes")

	require.ErrorIs(t, insert(other, "one", 2), groupcommit.ErrMismatch)
	ends := endsOf(t, other)
	require.EqualValues(t, 4, ends.Replays)
	require.EqualValues(t, 1, ends.Errors[groupcommit.ErrorOther])
}

func TestCallsThatJoinOneThatIsUnderWayAreReplays(t *testing.T) {
	db := ours(t, dsnOf(t, "&groupcommit_promises=on"), "CREATE TABLE a (k INTEGER UNIQUE, v)", "INSERT INTO a VALUES (1, 'v')")
	release := hold(t, db)
	var ps []*groupcommit.Promise
	for range 3 {
		ps = append(ps, groupcommit.Go(withID("refused"), db, insertRow, 1, "v"))
	}
	awaitQueued(t, db, 1)
	_, err := db.ExecContext(withID("refused"), insertRow, 2, "v")
	require.ErrorIs(t, err, groupcommit.ErrMismatch)
	release()
	for _, p := range ps {
		_, err := p.Await(background)
		require.Error(t, err)
	}
	require.Equal(t, groupcommit.Ends{Errors: errorCounts{groupcommit.ErrorConstraint: 3, groupcommit.ErrorOther: 1}, Replays: 2}, endsOf(t, db))
}

func kindOf(t testing.TB, db *sql.DB, kind string) groupcommit.CommandStats {
	t.Helper()
	s, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Contains(t, s.Commands, kind)
	return s.Commands[kind]
}

func TestCommandsAreCountedByKindAndState(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	passing := errors.New("for now")
	var failed atomic.Bool
	handler := groupcommit.Each(func(ctx context.Context, tx *sql.Tx, e entry) (int, error) {
		switch e.N {
		case 1:
			begun <- struct{}{}
			<-goOn
		case 2:
			_, err := tx.ExecContext(ctx, "INSERT INTO u VALUES (1)")
			return 0, err
		case 3:
			if failed.CompareAndSwap(false, true) {
				return 0, passing
			}
		}
		return e.N, nil
	})
	pause := make(chan time.Duration, 1)
	pause <- time.Hour
	retry := func(int) (time.Duration, bool) { return <-pause, true }
	db, cs := commanding(t, "&groupcommit_promises=on", handler, groupcommit.Durable(), groupcommit.Kind("entries"), groupcommit.Retry(retry))
	stats := func() groupcommit.CommandStats { return kindOf(t, db, "entries") }
	require.Equal(t, groupcommit.CommandStats{Durable: true}, stats())

	first := cs.Go(background, "1", entry{1})
	bounded.Receive(t, "the handler has begun", begun)
	require.Equal(t, groupcommit.CommandStats{Durable: true, Running: 1}, stats())
	goOn <- struct{}{}
	_, err := first.Await(background)
	require.NoError(t, err)
	bounded.Until(t, "nothing runs", func() bool { return stats().Running == 0 })
	require.Equal(t, groupcommit.CommandStats{Durable: true, Resolved: 1}, stats())

	_, err = cs.Do(background, "1", entry{1})
	require.NoError(t, err)
	_, err = cs.Do(background, "2", entry{2})
	require.Error(t, err)
	s := stats()
	require.Equal(t, []int64{2, 1, 1}, []int64{s.Resolved, s.Rejected, s.Replays})
	require.Equal(t, errorCounts{groupcommit.ErrorConstraint: 1}, s.Errors)

	third := cs.Go(background, "3", entry{3})
	bounded.Until(t, "it waits for another attempt", func() bool { return stats().Retrying == 1 })
	require.Zero(t, stats().Running)
	require.NoError(t, db.Close())
	_, err = third.Await(background)
	require.ErrorAs(t, err, new(*groupcommit.PendingError))
	s = cs.Stats().Commands["entries"]
	require.Equal(t, []int64{0, 1, 2, 1}, []int64{int64(s.Retrying), s.Left, s.Resolved, s.Rejected})
	require.Equal(t, s.Ends, cs.Stats().Ends)
}
