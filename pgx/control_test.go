package pgx_test

import (
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// aroundGroups are the names of the statements around a group, which are the same for each.
const aroundGroups = "('groupcommit_begin', 'groupcommit_check', 'groupcommit_head', 'groupcommit_commit')"

// What a group pays once is prepared in the mode that prepares the program's own statements, and in no other.
func TestTheStatementsAroundAGroupArePreparedWhereTheProgramsAre(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode, func(t *testing.T) {
			param := pgtest.Param("default_query_exec_mode", mode)
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{param, pgtest.Param("groupcommit_mode", "transaction")})
			r.exec(r.plain, "CREATE TABLE seen (statements INT)")
			r.good(r.together(insert(0), insert(1)))
			look := call{"INSERT INTO seen SELECT count(*) FROM pg_prepared_statements WHERE name IN " + aroundGroups, nil}
			r.good(r.together(insert(2), look))
			want := "0"
			if mode == "cache_statement" {
				want = "4"
			}
			require.Equal(r, want, r.value("SELECT statements FROM seen"))
		})
	}
}

// The program may have the server forget prepared statements, even in the middle of a group.
func TestAServerThatHasForgottenTheStatementsAroundAGroupCostsNoCallItsAnswer(t *testing.T) {
	t.Parallel()
	for _, forgotten := range []string{"groupcommit_begin", "groupcommit_check", "groupcommit_head", "groupcommit_commit"} {
		t.Run(forgotten, func(t *testing.T) {
			r := setUp(t)
			r.exec(r.plain, `CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF EXISTS (SELECT FROM pg_prepared_statements WHERE name = '`+forgotten+`') THEN EXECUTE 'DEALLOCATE `+forgotten+`'; END IF;
				RETURN NEW; END $$;
				CREATE TRIGGER forget BEFORE INSERT ON rows FOR EACH ROW WHEN (NEW.k = 13) EXECUTE FUNCTION forget()`)
			for n := range 4 {
				r.good(r.together(inserts(10*n, 10)...))
			}
			require.Equal(r, "40 40", r.value("SELECT count(*) || ' ' || count(DISTINCT k) FROM rows"))
			require.Equal(r, "1", r.value("SELECT count(*) FROM (SELECT FROM rows WHERE k >= 30 GROUP BY xmin) AS transactions"))
		})
	}
}

// Such a group is ended before its first answers are looked at.
func TestACallWithAnIDThatCannotBeSentInAConnectionsFirstGroupLeavesTheOthersOneGroup(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	calls := ids(inserts(0, 4))
	calls[0].call = call{"INSERT INTO log (k) VALUES ($1)", []any{1, 2}}
	got := r.named(calls...)
	require.ErrorContains(r, got[0].err, "mismatched")
	require.Equal(r, all(done, 3), got[1:])
	require.Equal(r, "3 1", r.value("SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM rows"))
}
