package pgx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// process is the server's process of the only connection of a database.
func (r *rig) process(db *sql.DB) (pid int) {
	r.Helper()
	db.SetMaxOpenConns(1)
	require.NoError(r, db.QueryRow("SELECT pg_backend_pid()").Scan(&pid))
	return pid
}

// kill ends a process of the server.
func (r *rig) kill(pid int) {
	r.Helper()
	r.value("SELECT pg_terminate_backend($1)", pid)
	r.eventually("the process has ended", func() bool { return r.value("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == "0" })
}

func TestATransactionWhoseConnectionEndsBeforeItsFirstStatementBeginsOnAnother(t *testing.T) {
	t.Parallel()
	for name, s := range starts {
		t.Run(name, func(t *testing.T) {
			r, p := proxied(t)
			for k, end := range []func(pid int){r.kill, func(int) { p.CutAll() }} {
				pid := r.process(r.db)
				transact(t, r.db, nil, func(tx *sql.Tx) {
					end(pid)
					s.run(t, tx, 2*k+1)
					execArgs()(t, tx, 2*k+2)
				})
			}
			r.once(4)
		})
	}
}

func TestATransactionThatHasNotBegunEndsWithoutAnErrorOnALostConnection(t *testing.T) {
	t.Parallel()
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		r := setUp(t)
		pid := r.process(r.db)
		tx, err := r.db.Begin()
		require.NoError(t, err)
		r.kill(pid)
		require.NoError(t, end(tx))
	}
}

// counting is a first statement that counts how often it is executed, whatever becomes of it.
const counting = "INSERT INTO log (k) SELECT k + $1 FROM (SELECT nextval('times') AS k OFFSET 0) one"

func (r *rig) counts() {
	r.exec(r.plain, "CREATE SEQUENCE times")
}

func (r *rig) counted(n string) {
	r.Helper()
	require.Equal(r, n, r.value("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM times"), "how often it was executed")
}

func TestAFirstStatementThatEndsItsOwnConnectionIsExecutedOnce(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.counts()
	suicide := counting + " WHERE pg_terminate_backend(pg_backend_pid())"
	run := func(db *sql.DB) (errs []error) {
		tx, err := db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(suicide, 7)
		_, next := tx.Exec(logRow, 8)
		return append(errs, err, next, tx.Commit())
	}
	plain := run(r.plain)
	r.counted("1")
	ours := run(r.db)
	r.counted("2")
	for i := range plain {
		require.Equal(t, errorText(plain[i]), errorText(ours[i]))
	}
	r.once(0)
}

// onTheWay begins a transaction with a statement that takes a while, and returns when the server executes it.
func (r *rig) onTheWay(ctx context.Context) (tx *sql.Tx, answer chan error) {
	r.Helper()
	return r.onTheWayAfter(ctx, func() {})
}

// onTheWayAfter calls begun when Begin has returned.
func (r *rig) onTheWayAfter(ctx context.Context, begun func()) (tx *sql.Tx, answer chan error) {
	r.Helper()
	tx, err := r.db.Begin()
	require.NoError(r, err)
	begun()
	answer = make(chan error, 1)
	go func() {
		_, err := tx.ExecContext(ctx, counting+", pg_sleep(100)", 7)
		answer <- err
	}()
	r.eventually("the statement is executed", func() bool { return r.value("SELECT is_called FROM times") == "true" })
	return tx, answer
}

// over requires that nothing more can be done in a transaction, in which one statement was executed once.
func (r *rig) over(tx *sql.Tx) {
	r.Helper()
	_, err := tx.Exec(counting, 7)
	require.ErrorIs(r, err, driver.ErrBadConn, "no statement of the transaction runs outside of it")
	require.Error(r, tx.Commit())
	r.once(0)
}

func TestAConnectionThatIsLostInTheFirstStatementIsNotExchanged(t *testing.T) {
	t.Parallel()
	p, err := proxy.New(pgtest.Shared(t).Addr())
	require.NoError(t, err)
	defer p.Close()
	r, c := counted(t, []pgtest.DSNOption{pgtest.Via(p.Addr()), pgtest.Param("default_query_exec_mode", "exec")})
	r.counts()
	var asked int64
	tx, answer := r.onTheWayAfter(background, func() { asked = c.answered.Load() })
	r.eventually("its BEGIN has been answered", func() bool { return c.answered.Load() > asked })
	p.CutAll()
	require.Error(t, bounded.Receive(t, "the statement fails", answer))
	r.over(tx)
	r.counted("1")
}

func TestAFirstStatementThatIsCancelledEndsItsTransaction(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.counts()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	tx, answer := r.onTheWay(ctx)
	cancel()
	require.ErrorIs(t, bounded.Receive(t, "the statement ends", answer), context.Canceled)
	r.over(tx)
	r.counted("1")
}

func TestAFirstStatementThatIsCancelledBeforeBeginIsAnsweredIsNotSentAgain(t *testing.T) {
	t.Parallel()
	r, p := proxied(t)
	r.counts()
	r.process(r.db)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	var begins atomic.Int64
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type != 'P' || m.SQL != "begin" {
			return proxy.Pass
		}
		begins.Add(1)
		cancel()
		return proxy.Mute
	})
	tx, err := r.db.Begin()
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, counting, 7)
	require.ErrorIs(t, err, context.Canceled)
	r.over(tx)
	require.EqualValues(t, 1, begins.Load())
}

func TestATransactionThatFindsNoOtherConnectionIsOver(t *testing.T) {
	t.Parallel()
	r, p := proxied(t)
	r.counts()
	r.process(r.db)
	tx, err := r.db.Begin()
	require.NoError(t, err)
	p.Refuse(true)
	p.CutAll()
	_, err = tx.Exec(counting, 7)
	require.Error(t, err)
	p.Refuse(false)
	r.over(tx)
	r.counted("0")
	transact(t, r.db, nil, func(tx *sql.Tx) { execArgs()(t, tx, 1) })
	r.once(1)
}

func TestATransactionBeginsOnThreeConnectionsAtTheMost(t *testing.T) {
	t.Parallel()
	for lost := range 4 {
		r, p := proxied(t)
		r.counts()
		r.process(r.db)
		var begins atomic.Int64
		p.OnClient(func(m proxy.Message) proxy.Action {
			if m.Type == 'P' && m.SQL == "begin" && begins.Add(1) <= int64(lost) {
				return proxy.Cut
			}
			return proxy.Pass
		})
		tx, err := r.db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(counting, 7)
		if lost < 3 {
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			r.once(1)
			r.counted("1")
			require.EqualValues(t, lost+1, begins.Load())
			continue
		}
		require.Error(t, err)
		require.EqualValues(t, 3, begins.Load())
		r.over(tx)
		r.counted("0")
	}
}

func TestATransactionThatHasBegunEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	for name, s := range starts {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			run := func(db *sql.DB) (errs []error) {
				r.exec(r.plain, "DELETE FROM log")
				pid := r.process(db)
				tx, err := db.Begin()
				require.NoError(t, err)
				s.run(t, tx, 1)
				r.kill(pid)
				_, err = tx.Exec(logRow, 2)
				return append(errs, err, tx.Commit())
			}
			plain := r.open("pgx", r.dsn)
			want := run(plain)
			got := run(r.db)
			for i := range want {
				require.Equal(t, errorText(want[i]), errorText(got[i]))
			}
			r.once(0)
		})
	}
}

func TestAConnectionThatTheProgramHasUsedIsNotExchanged(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	pid := r.process(r.db)
	conn, err := r.db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.QueryRowContext(background, "SELECT 1").Scan(new(int)))
	tx, err := conn.BeginTx(background, nil)
	require.NoError(t, err)
	r.kill(pid)
	_, err = tx.Exec(logRow, 1)
	require.Error(t, err)
	require.Error(t, tx.Commit())
	r.once(0)
}

func TestAPoolsConnectionThatIsLostGoesBackBeforeAnotherIsTaken(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	config, err := pgxpool.ParseConfig(r.dsn)
	require.NoError(t, err)
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(background, config)
	require.NoError(t, err)
	defer pool.Close()
	connector, err := groupcommit.NewConnector(stdlib.GetPoolConnector(pool))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	transact(t, db, nil, func(tx *sql.Tx) {
		r.kill(r.one("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"))
		execArgs()(t, tx, 1)
	})
	r.once(1)
}

// one is a number that a query gives.
func (r *rig) one(query string) (n int) {
	r.Helper()
	require.NoError(r, r.plain.QueryRow(query).Scan(&n))
	return n
}
