package pgx_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// A start is a way to begin a transaction, which puts the row k into the log.
type start struct {
	run   func(t require.TestingT, tx *sql.Tx, k int)
	apart bool // BEGIN takes a round trip of its own
}

const logRow = "INSERT INTO log (k) VALUES ($1)"

func execArgs(args ...any) func(require.TestingT, *sql.Tx, int) {
	return func(t require.TestingT, tx *sql.Tx, k int) {
		_, err := tx.Exec(logRow, append(args, k)...)
		require.NoError(t, err)
	}
}

func queried(row *sql.Row, t require.TestingT, k int) {
	var got int
	require.NoError(t, row.Scan(&got))
	require.Equal(t, k, got)
}

var starts = map[string]start{
	"Exec": {execArgs(), false},
	"Query": {func(t require.TestingT, tx *sql.Tx, k int) {
		queried(tx.QueryRow(logRow+" RETURNING k", k), t, k)
	}, false},
	"Query without arguments": {func(t require.TestingT, tx *sql.Tx, k int) {
		queried(tx.QueryRow("INSERT INTO log (k) SELECT count(*) + 1 FROM log RETURNING k"), t, k)
	}, false},
	"Prepare and Exec": {func(t require.TestingT, tx *sql.Tx, k int) {
		st, err := tx.Prepare(logRow)
		require.NoError(t, err)
		_, err = st.Exec(k)
		require.NoError(t, err)
	}, false},
	"Prepare and Query": {func(t require.TestingT, tx *sql.Tx, k int) {
		st, err := tx.Prepare(logRow + " RETURNING k")
		require.NoError(t, err)
		queried(st.QueryRow(k), t, k)
	}, false},
	"Exec without arguments": {func(t require.TestingT, tx *sql.Tx, k int) {
		_, err := tx.Exec("INSERT INTO log (k) SELECT count(*) + 1 FROM log")
		require.NoError(t, err)
	}, true},
	"a savepoint": {func(t require.TestingT, tx *sql.Tx, k int) {
		_, err := tx.Exec("SAVEPOINT s")
		require.NoError(t, err)
		execArgs()(t, tx, k)
	}, true},
	"an option of the driver's": {execArgs(pgx.QueryExecModeSimpleProtocol), true},
	"an argument that is long": {func(t require.TestingT, tx *sql.Tx, k int) {
		_, err := tx.Exec("INSERT INTO log (k) SELECT $1 WHERE length($2) > 1", k, strings.Repeat("long", 99999))
		require.NoError(t, err)
	}, false},
	"an argument that is an array": {func(t require.TestingT, tx *sql.Tx, k int) {
		keys := make([]int64, 20)
		keys[0] = int64(k)
		_, err := tx.Exec("INSERT INTO log (k) SELECT k FROM unnest($1::bigint[]) AS k WHERE k > 0", keys)
		require.NoError(t, err)
	}, false},
}

// transact runs a transaction.
func transact(t require.TestingT, db *sql.DB, opts *sql.TxOptions, f func(*sql.Tx)) {
	tx, err := db.BeginTx(background, opts)
	require.NoError(t, err)
	f(tx)
	require.NoError(t, tx.Commit())
}

func TestBeginTravelsWithTheFirstStatement(t *testing.T) {
	t.Parallel()
	for _, exec := range unlikeModes("cache_statement", "exec", "simple_protocol") {
		for name, s := range starts {
			t.Run(exec+"/"+name, func(t *testing.T) {
				r, c := counted(t, []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)})
				config, plainTrips := countedConfig(t, pgtest.With(r.dsn, pgtest.Param("default_query_exec_mode", exec)))
				plain := stdlib.OpenDB(*config)
				defer plain.Close()
				k := 0
				run := func(db *sql.DB, c *trips) int {
					db.SetMaxOpenConns(1)
					for range 2 { // the text is new, and stdlib pings a connection that it uses for the second time
						k++
						transact(t, db, nil, func(tx *sql.Tx) { s.run(t, tx, k) })
					}
					k++
					return c.of(func() { transact(t, db, nil, func(tx *sql.Tx) { s.run(t, tx, k) }) })
				}
				saved := 1
				if s.apart || exec == "simple_protocol" {
					saved = 0
				}
				want := run(plain, plainTrips) - saved
				got := run(r.db, c)
				if strings.HasPrefix(name, "Prepare") { // ours is prepared already
					require.LessOrEqual(t, got, want)
				} else {
					require.Equal(t, want, got)
				}
				r.once(k)
				nothing := 0
				if exec == "simple_protocol" {
					nothing = 2
				}
				require.Equal(t, nothing, c.of(func() { transact(t, r.db, nil, func(*sql.Tx) {}) }), "nothing between Begin and Commit")
			})
		}
	}
}

func TestATransactionOfSeveralStatementsIsOne(t *testing.T) {
	t.Parallel()
	for name, s := range starts {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			transact(t, r.db, nil, func(tx *sql.Tx) {
				s.run(t, tx, 1)
				execArgs()(t, tx, 2)
			})
			r.once(2)
			require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM log"))
			tx, err := r.db.Begin()
			require.NoError(t, err)
			s.run(t, tx, 3)
			require.NoError(t, tx.Rollback())
			r.once(2)
		})
	}
}
