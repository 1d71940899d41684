package pgx_test

import (
	"database/sql"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

var execModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

// pgx takes a statement that is prepared on a connection for every call with its text there, in each mode: one that the
// program has closed must not be there any more.
func TestAStatementThatIsClosedChangesNothingForCallsOfTheSameText(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode, func(t *testing.T) {
			param := pgtest.Param("default_query_exec_mode", mode)
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{param})
			r.exec(r.plain, "CREATE TABLE kinds (x FLOAT8, n INT)")
			r.exec(r.plain, "CREATE TABLE shape (a INT)")
			plain := r.open("pgx", pgtest.With(r.dsn, param))
			plain.SetMaxOpenConns(1)
			r.db.SetMaxOpenConns(1)

			const insert, query = "INSERT INTO kinds VALUES ($1, $2)", "SELECT * FROM shape WHERE a > $1"
			closed := func(db *sql.DB, query string, use func(*sql.Stmt) error) {
				st, err := db.Prepare(query)
				require.NoError(t, err)
				require.NoError(t, use(st))
				require.NoError(t, st.Close())
			}
			read := func(st *sql.Stmt) error {
				rows, err := st.Query(0)
				if err == nil {
					err = rows.Close()
				}
				return err
			}
			for _, db := range []*sql.DB{plain, r.db} {
				closed(db, insert, func(st *sql.Stmt) error { _, err := st.Exec(1.5, 1); return err })
				closed(db, query, read)
			}
			for _, args := range [][]any{{[]byte("12"), 2}, {1.5}, {"1.5", "2"}, {1.5, 2, 3}} {
				_, want := plain.Exec(insert, args...)
				_, got := r.db.Exec(insert, args...)
				if want == nil {
					require.NoError(t, got, "%v", args)
					continue
				}
				require.EqualError(t, got, want.Error(), "%v", args)
				require.IsType(t, want, got)
			}
			r.exec(r.plain, "ALTER TABLE shape ADD b TEXT") // by somebody else
			for range 3 {
				closed(r.db, query, read) // prepared anew, and so read anew
			}
		})
	}
}

func TestAStatementThatIsOpenIsPreparedOnceAConnection(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.db.SetMaxOpenConns(1)
	st, err := r.db.Prepare("SELECT count(*) FROM rows WHERE k > $1")
	require.NoError(t, err)
	defer st.Close()
	prepared := func() (n int) {
		require.NoError(t, r.db.QueryRow("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT count(*) FROM rows%'").Scan(&n))
		return n
	}
	var n int
	for range 3 {
		require.NoError(t, st.QueryRow(0).Scan(&n))
		require.Equal(t, 1, prepared(), "it is to stay while it is open")
	}
	require.NoError(t, st.Close())
	require.Zero(t, prepared(), "it is closed")
}
