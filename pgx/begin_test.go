package pgx_test

import (
	"database/sql"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

func TestATransactionTakesOneRoundTripLessThanThePlainDrivers(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		t.Run(exec, func(t *testing.T) {
			r, c := counted(t, []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)})
			r.db.SetMaxOpenConns(1)
			k := 0
			run := func(n int) int {
				return c.of(func() {
					tx, err := r.db.Begin()
					require.NoError(t, err)
					for range n {
						k++
						_, err := tx.Exec("INSERT INTO log (k) VALUES ($1)", k)
						require.NoError(t, err)
					}
					require.NoError(t, tx.Commit())
				})
			}
			run(1)
			each := 1
			if exec == "describe_exec" {
				each = 2
			}
			require.Equal(t, 0, run(0))
			require.Equal(t, each+1, run(1))
			require.Equal(t, 2*each+1, run(2))
			r.once(k)
		})
	}
	_ = sql.ErrNoRows
}
