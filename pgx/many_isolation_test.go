package pgx_test

import (
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// A connection is asked for its level of isolation once. A function may set another one later, and so may a new configuration of the
// server. At the stricter levels a transaction sees the catalogs as they were before its rows waited for another session's definition.
func TestATriggerForWhichManyRowsWaitRunsForEachRowAtEachIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read uncommitted", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			e := pgx.AlwaysMany(3)
			r := setUp(t, groupcommit.WithEngine(e), groupcommit.ManyRows(true), groupcommit.Mode(groupcommit.Transaction), groupcommit.LockTimeout(0))
			r.exec(r.plain, see+"CREATE TABLE t (k BIGINT, n BIGINT, up BIGINT)")
			r.exec(r.plain, `CREATE FUNCTION level(name TEXT) RETURNS TEXT LANGUAGE sql AS $$ SELECT set_config('default_transaction_isolation', name, false) $$`)
			three := func(from int) (calls []call) {
				for i := range 3 {
					calls = append(calls, call{codedText, []any{from + i, 0, 0}})
				}
				return calls
			}
			r.good(r.together(three(0)...))
			require.EqualValues(t, 1, pgx.ManyGroups(e))
			r.exec(r.db, "SELECT level($1)", level) // of the one connection that there is
			require.Equal(t, 1, r.stats().Leased.OpenConnections)

			tx, err := r.plain.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = tx.Exec("CREATE TRIGGER s AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION see()")
			require.NoError(t, err)
			release := r.begin(three(10)...)
			got := make(chan []answer, 1)
			go func() { got <- release() }()
			r.eventually("the rows wait", func() bool {
				return r.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") != "0"
			})
			require.NoError(t, tx.Commit())
			r.good(bounded.Receive(t, "the calls are answered", got))
			require.Equal(t, "4 5 6", r.value(whatWasSeen))
			require.EqualValues(t, 1, pgx.ManyGroups(e))
		})
	}
}
