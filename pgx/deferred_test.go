package pgx_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// A row that violates a deferred constraint fails by itself. A neighbour that takes the row away again must not make it good:
// no order of the two, one after the other, lets both succeed.
func TestARowThatViolatesADeferredConstraintIsNotHealedByItsNeighbour(t *testing.T) {
	for _, exec := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(exec, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)})
			r.exec(r.plain, "CREATE TABLE child (k BIGINT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
			r.exec(r.plain, "CREATE TABLE once (k BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
			r.exec(r.plain, "INSERT INTO once VALUES (1)")
			orphan := call{"INSERT INTO child (k) VALUES ($1)", []any{7}}
			second := call{"INSERT INTO once (k) VALUES ($1)", []any{1}}
			got := r.together(
				orphan, call{"DELETE FROM child WHERE k = $1", []any{7}},
				second, call{"DELETE FROM once WHERE k = $1 AND (SELECT count(*) FROM once) = 2", []any{1}},
			)
			require.Equal(t, groupcommit.Transaction, r.stats().Mode)
			r.sameError(orphan, got[0].err)
			require.Equal(t, "23503", sqlState(got[0].err))
			r.sameError(second, got[2].err)
			require.Equal(t, "23505", sqlState(got[2].err))
			require.Equal(t, []answer{{}, {}}, []answer{got[1], got[3]}, "there is nothing to delete")
			require.Equal(t, "0", r.value("SELECT count(*) FROM child"))
			require.Equal(t, "1", r.value("SELECT count(*) FROM once"))
		})
	}
}

// What a connection has prepared stays on the server until it is told to forget it.
func TestTheServerForgetsTheStatementsThatFellOutOfTheCache(t *testing.T) {
	for _, mode := range []string{"transaction", "autocommit"} {
		t.Run(mode, func(t *testing.T) {
			const capacity = 4
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("statement_cache_capacity", fmt.Sprint(capacity)), pgtest.Param("groupcommit_mode", mode)})
			for round := range 10 {
				var calls []call
				for i := range 5 {
					calls = append(calls, call{fmt.Sprintf("INSERT INTO log (k) VALUES ($1 + %d)", 1000*round+10*i), []any{i}})
				}
				r.good(r.together(calls...))
			}
			count := call{"INSERT INTO rows (k) SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'groupcommit%' AND name NOT IN " + aroundGroups, nil}
			r.good(r.together(count, logged(-2))) // on the connection of the groups
			n, err := strconv.Atoi(r.value("SELECT k FROM rows"))
			require.NoError(t, err)
			require.Positive(t, n)
			require.LessOrEqual(t, n, 2*capacity, "of 50, with what this group has prepared")
		})
	}
}
