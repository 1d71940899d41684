package pgx_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// same runs a story on the plain driver and on ours, each with one connection, and requires the same answers.
func (r *rig) same(story func(db *sql.DB) (answers []string)) {
	r.Helper()
	r.plain.SetMaxOpenConns(1)
	r.db.SetMaxOpenConns(1)
	plain := story(r.plain)
	require.Equal(r, plain, story(r.db))
}

func one(tx *sql.Tx, query string, args ...any) string {
	var v string
	if err := tx.QueryRow(query, args...).Scan(&v); err != nil {
		return errorText(err)
	}
	return v
}

var levels = []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelWriteCommitted,
	sql.LevelRepeatableRead, sql.LevelSnapshot, sql.LevelSerializable, sql.LevelLinearizable, 99}

func TestATransactionHasTheLevelThatThePlainDriversHas(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	other := r.open("pgx", r.dsn)
	for _, level := range levels {
		for _, readOnly := range []bool{false, true} {
			r.same(func(db *sql.DB) (got []string) {
				r.exec(other, "DELETE FROM log")
				tx, err := db.BeginTx(background, &sql.TxOptions{Isolation: level, ReadOnly: readOnly})
				if err != nil {
					return []string{errorText(err)}
				}
				r.exec(other, logRow, 1)
				got = append(got, one(tx, "SELECT count(*)::text || $1 FROM log", "")) // the snapshot, if there is to be one
				r.exec(other, logRow, 2)
				got = append(got, one(tx, "SELECT count(*)::text || $1 FROM log", ""))
				got = append(got, one(tx, "SHOW transaction_isolation"), one(tx, "SHOW transaction_read_only"))
				_, err = tx.Exec(logRow, 3)
				return append(got, errorText(err), errorText(tx.Commit()))
			})
		}
	}
}

func TestATransactionThatHasNotBegunIsNotThereForTheServer(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	pid := r.process(r.db)
	state := func() string { return r.value("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) }
	transact(t, r.db, nil, func(tx *sql.Tx) {
		require.Equal(t, "idle", state())
		execArgs()(t, tx, 1)
		require.Equal(t, "idle in transaction", state())
	})
	require.Equal(t, "idle", state())
	r.once(1)
}

func TestBeginWithAContextThatIsDoneIsThePlainDriversError(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	done, cancel := context.WithCancel(background)
	cancel()
	r.same(func(db *sql.DB) []string {
		_, err := db.BeginTx(done, nil)
		return []string{errorText(err)}
	})
}

func TestAFirstStatementThatCannotBeSentLeavesTheTransactionToTheNext(t *testing.T) {
	t.Parallel()
	done, cancel := context.WithCancel(background)
	cancel()
	for name, fails := range map[string]func(tx *sql.Tx) error{
		"an argument":   func(tx *sql.Tx) error { _, err := tx.Exec(logRow, "no number"); return err },
		"the number":    func(tx *sql.Tx) error { _, err := tx.Exec(logRow, 1, 2); return err },
		"the context":   func(tx *sql.Tx) error { _, err := tx.ExecContext(done, logRow, 1); return err },
		"a query":       func(tx *sql.Tx) error { _, err := tx.Query(logRow, 1, 2); return err },
		"without a row": func(tx *sql.Tx) error { _, err := tx.ExecContext(done, "DELETE FROM log"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			r.same(func(db *sql.DB) (got []string) {
				r.exec(db, "DELETE FROM log")
				r.exec(db, logRow, 7) // the text is known
				tx, err := db.Begin()
				require.NoError(t, err)
				got = append(got, errorText(fails(tx)))
				_, err = tx.Exec(logRow, 8)
				got = append(got, errorText(err), errorText(tx.Commit()))
				return append(got, r.value("SELECT string_agg(k::text, ',' ORDER BY k) FROM log"))
			})
		})
	}
}

func TestAPanicInAFirstStatementsArgumentLeavesTheTransactionToTheNext(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	pid := r.process(r.db)
	tx, err := r.db.Begin()
	require.NoError(t, err)
	require.Panics(t, func() { tx.Exec(logRow, panicking{}) })
	execArgs()(t, tx, 1)
	require.NoError(t, tx.Rollback())
	r.once(0)
	require.Equal(t, pid, r.process(r.db))
}

type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("a program's mistake") }

func TestATransactionBehindAStatementThatHasFailedIsWhole(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	text := "INSERT INTO rows (k, v) VALUES ($1, $2)"
	r.same(func(db *sql.DB) (got []string) {
		r.exec(db, "DELETE FROM rows")
		for range 3 {
			tx, err := db.Begin()
			require.NoError(t, err)
			for _, k := range []int{1, 2, 1} { // the last fails, and pgx forgets the text before the next call
				_, err := tx.Exec(text, k, "v")
				got = append(got, errorText(err))
			}
			got = append(got, errorText(tx.Commit()))
		}
		transact(t, db, nil, func(tx *sql.Tx) { _, err := tx.Exec(text, 3, "v"); got = append(got, errorText(err)) })
		return append(got, r.value("SELECT count(*) FROM rows"))
	})
}

func TestTheRowsOfAFirstQueryAreThePlainDrivers(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	for _, query := range []string{
		"SELECT 1::int2, 2::int8, 3.5::float8, 4.25::numeric(9,3), true, 'a'::bytea, now() - now(), '{1,2}'::int[], NULL::text, 'x'::varchar(7), $1::int4",
		"SELECT g, repeat('long', 100) FROM generate_series(1, $1 * 1000) g",
		"SELECT 1 / (g - 3) FROM generate_series(1, $1 + 4) g",
		"SELECT $1::int WHERE false",
	} {
		r.same(func(db *sql.DB) (got []string) {
			tx, err := db.Begin()
			require.NoError(t, err)
			rows, err := tx.Query(query, 1)
			require.NoError(t, err)
			types, err := rows.ColumnTypes()
			require.NoError(t, err)
			for _, c := range types {
				length, ok := c.Length()
				got = append(got, fmt.Sprint(c.DatabaseTypeName(), c.ScanType(), length, ok))
			}
			if rows.Next() {
				_, err := tx.Exec(logRow, 1) // the connection is busy
				got = append(got, errorText(err))
			}
			got = append(got, errorText(rows.Close()), rowsText(tx.Query(query, 1)), errorText(tx.Commit()))
			tx, err = db.Begin()
			require.NoError(t, err)
			return append(got, rowsText(tx.Query(query, 1)), errorText(tx.Commit()))
		})
	}
}

func TestBeginBesideOpenRowsIsThePlainDriversError(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.same(func(db *sql.DB) []string {
		conn, err := db.Conn(background)
		require.NoError(t, err)
		defer conn.Close()
		rows, err := conn.QueryContext(background, "SELECT generate_series(1, 3)")
		require.NoError(t, err)
		require.True(t, rows.Next())
		_, err = conn.BeginTx(background, nil)
		return []string{errorText(err), errorText(rows.Close())}
	})
}

func TestRawAccessInATransactionIsInTheTransaction(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	conn, err := r.db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	for k, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
		tx, err := conn.BeginTx(background, nil)
		require.NoError(t, err)
		require.NoError(t, groupcommit.Raw(background, conn, func(dc driver.Conn) error {
			pg := dc.(*stdlib.Conn).Conn()
			require.Equal(t, "T", string(pg.PgConn().TxStatus()))
			_, err := pg.CopyFrom(background, pgx.Identifier{"log"}, []string{"k"}, pgx.CopyFromRows([][]any{{1}, {2}}))
			return err
		}))
		require.NoError(t, end(tx))
		r.once(2 * k)
	}
}

func TestASubscriptionInATransactionIsTheSessions(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.same(func(db *sql.DB) (got []string) {
		conn, err := db.Conn(background)
		require.NoError(t, err)
		defer conn.Close()
		tx, err := conn.BeginTx(background, nil)
		require.NoError(t, err)
		_, err = tx.Exec("LISTEN news")
		got = append(got, errorText(err), errorText(tx.Commit()))
		var channels string
		require.NoError(t, conn.QueryRowContext(background, "SELECT string_agg(c, ',') FROM pg_listening_channels() c").Scan(&channels))
		return append(got, channels)
	})
}

// lines is what a tracer of messages has written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWhatWatchesAConnectionSeesBeginWhereItWasCalled(t *testing.T) {
	t.Parallel()
	for name, watch := range map[string]func(*pgx.ConnConfig) (opts []stdlib.OptionOpenDB, saw func() bool){
		"a tracer": func(c *pgx.ConnConfig) ([]stdlib.OptionOpenDB, func() bool) {
			tracer := new(seen)
			c.Tracer = tracer
			return nil, func() bool { return tracer.texts[len(tracer.texts)-1] == "begin isolation level serializable" }
		},
		"a tracer of messages": func(*pgx.ConnConfig) ([]stdlib.OptionOpenDB, func() bool) {
			l := new(lines)
			return []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
				c.PgConn().Frontend().Trace(l, pgproto3.TracerOptions{})
				return nil
			})}, func() bool { return bytes.Contains([]byte(l.text()), []byte("begin isolation level serializable")) }
		},
		"a statement of that name": func(*pgx.ConnConfig) ([]stdlib.OptionOpenDB, func() bool) {
			return []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Prepare(ctx, "begin isolation level serializable", "BEGIN READ ONLY")
				return err
			})}, func() bool { return true }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			config, err := pgx.ParseConfig(r.dsn)
			require.NoError(t, err)
			opts, saw := watch(config)
			connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config, opts...))
			require.NoError(t, err)
			db := sql.OpenDB(connector)
			defer db.Close()
			transact(t, db, &sql.TxOptions{Isolation: sql.LevelSerializable}, func(tx *sql.Tx) {
				require.True(t, saw())
				if name == "a statement of that name" {
					require.Equal(t, "on", one(tx, "SHOW transaction_read_only"))
				}
			})
		})
	}
}

func TestANoticeOfBeginReachesTheProgram(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	config, err := pgx.ParseConfig(pgtest.With(r.dsn, pgtest.Param("client_min_messages", "debug5")))
	require.NoError(t, err)
	var starts int
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.HasPrefix(n.Message, "StartTransaction(") && n.Severity == "DEBUG" {
			starts++
		}
	}
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	for range 2 { // stdlib pings a connection that it uses for the second time, and a ping is a transaction, too
		transact(t, db, nil, func(tx *sql.Tx) { execArgs()(t, tx, 1) })
	}
	before := starts
	transact(t, db, nil, func(tx *sql.Tx) { execArgs()(t, tx, 1) })
	require.Equal(t, 1, starts-before)
}

func TestAHandlersTransactionBeginsWithItsFirstStatement(t *testing.T) {
	t.Parallel()
	r, c := counted(t, nil)
	var handled int
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		if batch[0].Value.K == 1 {
			_, err := tx.Exec(logRow, 1, 2) // nothing of it is sent, and nothing has ended
			require.Error(t, err)
		}
		if batch[0].Value.K%2 == 0 {
			rows, err := tx.Query("SELECT $1::int", 1)
			require.NoError(t, err)
			for range 2 { // the connection is busy, and the transaction is none that has ended
				_, err = tx.Prepare("SELECT 2")
				require.ErrorContains(t, err, "conn busy")
			}
			require.NoError(t, rows.Close())
		}
		return logging(&handled)(ctx, tx, batch)
	})
	do := func(k int) {
		_, err := cs.Do(soon(t), "", entry{k})
		require.NoError(t, err)
	}
	do(1)
	do(2) // the query's text is new
	do(4)
	require.Equal(t, 2, c.of(func() { do(3) }), "the statement, with BEGIN, and COMMIT")
	r.once(4)
}

func TestAnErrorOfBeginIsTheFirstStatementsAndNothingIsExecuted(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby := pgtest.NewStandby(t, primary, pgtest.Options{})
	db, plain := (&rig{T: t}).open("pgx-groupcommit", standby.DSN()), (&rig{T: t}).open("pgx", standby.DSN())
	bounded.Test(t)
	opts := &sql.TxOptions{Isolation: sql.LevelSerializable}
	_, want := plain.BeginTx(background, opts)
	require.ErrorContains(t, want, "serializable")
	for range 2 {
		tx, err := db.BeginTx(background, opts)
		require.NoError(t, err)
		_, err = tx.Exec("SELECT pg_advisory_lock($1)", 1)
		require.Equal(t, errorText(want), errorText(err))
		require.Error(t, tx.Commit())
	}
	var locks int
	require.NoError(t, plain.QueryRow("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").Scan(&locks))
	require.Zero(t, locks)
}
