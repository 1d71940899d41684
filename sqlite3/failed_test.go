package sqlite3_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// halfway are tables on which a statement can fail when it has written rows already.
var halfway = []string{
	"CREATE TABLE n (a)",
	"CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 1), (2, -9223372036854775807 - 1), (3, 3)",
	"CREATE TABLE u (a INTEGER PRIMARY KEY, b)", "INSERT INTO u VALUES (1, 1), (2, 2), (3, 3)",
	"CREATE TRIGGER ut AFTER UPDATE ON u WHEN new.b = 502 BEGIN SELECT abs(-9223372036854775807 - 1); END",
	"CREATE TABLE s (a INT, b INT) STRICT", "INSERT INTO s VALUES (1, 1), (2, 2), (3, 3)",
	"CREATE TABLE src (k, v)", "INSERT INTO src VALUES (1, 1), (2, 9223372036854775807), (2, 1)",
	"CREATE TABLE p (a INTEGER PRIMARY KEY, b)", "INSERT INTO p VALUES (1, 1), (2, 2), (3, 3)",
	"CREATE TABLE c (a INTEGER PRIMARY KEY, pid REFERENCES p (a) ON DELETE CASCADE ON UPDATE CASCADE)", "INSERT INTO c VALUES (1, 1), (2, 2)",
	"CREATE TABLE w (a PRIMARY KEY, b NOT NULL) WITHOUT ROWID", "INSERT INTO w VALUES (1, 1), (2, 2)",
	"CREATE TABLE q (a INTEGER PRIMARY KEY)", "INSERT INTO q VALUES (1), (2)",
	"CREATE TABLE d (qid REFERENCES q (a), a CHECK (a < 9))", "INSERT INTO d VALUES (2, 1)",
	"CREATE TABLE pp (a INTEGER PRIMARY KEY)", "INSERT INTO pp VALUES (1), (2), (3)",
	"CREATE TABLE cc (pid REFERENCES pp (a) ON UPDATE CASCADE CHECK (pid < 12))", "INSERT INTO cc VALUES (1), (2)",
	"CREATE TABLE later (pid REFERENCES p (a) DEFERRABLE INITIALLY DEFERRED)",
	"CREATE VIRTUAL TABLE rt USING rtree (id, x0, x1)", "INSERT INTO rt VALUES (1, 1, 2)",
	"CREATE VIRTUAL TABLE ft USING fts4 (a)", "INSERT INTO ft VALUES ('one')",
	"CREATE TRIGGER fp AFTER INSERT ON p BEGIN INSERT INTO ft VALUES (new.b); END",
}

// conflicting are what keeps the action of a foreign key from mending what the parent's change has broken, and other triggers
// with a word that says what becomes of a conflict.
var conflicting = append(slices.Clone(halfway),
	"CREATE TRIGGER cd BEFORE DELETE ON c WHEN old.a = 2 BEGIN SELECT RAISE(FAIL, 'no'); END",
	"CREATE TRIGGER ci BEFORE UPDATE ON c WHEN old.a = 2 BEGIN SELECT RAISE(IGNORE); END",
	"CREATE TRIGGER pi AFTER INSERT ON p WHEN new.b = 77 BEGIN INSERT INTO t VALUES (new.a, 'trigger'); INSERT OR FAIL INTO w VALUES (1, 1); END",
	"CREATE TRIGGER pf AFTER INSERT ON p WHEN new.b = 79 BEGIN INSERT INTO t VALUES (new.a, 'trigger'); INSERT INTO c VALUES (50, 999); SELECT RAISE(FAIL, 'no'); END",
	"CREATE TRIGGER pr AFTER INSERT ON p WHEN new.b = 81 BEGIN INSERT INTO t VALUES (new.a, 'trigger'); INSERT OR FAIL INTO rt VALUES (1, 3, 4); END")

// failing are statements on halfway, each of which fails.
var failing = []string{
	// a column's type, a sum, a function, a table-valued function
	"INSERT INTO s VALUES (10, 1), ('x', 2)",
	"INSERT OR FAIL INTO s SELECT value, 1 FROM json_each('[10, 11, \"x\", 12]')",
	"UPDATE s SET b = CASE a WHEN 2 THEN 'x' ELSE 50 END",
	"UPDATE OR FAIL s SET b = CASE a WHEN 2 THEN 'x' ELSE 50 END",
	"INSERT INTO t SELECT k, sum(v) FROM src GROUP BY k",
	"UPDATE t SET a = a + 10, b = abs(b)",
	"DELETE FROM t WHERE abs(b) > 0",
	"UPDATE u SET b = b + 500",
	"UPDATE u SET a = CASE a WHEN 2 THEN 'x' ELSE a + 50 END",
	"INSERT INTO t SELECT value, CASE value WHEN 3 THEN (SELECT 1 FROM json_each('{')) END FROM json_each('[1, 2, 3]')",
	"INSERT INTO t VALUES (7, zeroblob(10)), (8, zeroblob(2000000000))",
	"INSERT INTO p VALUES (30, 'x'), ('y', 'x')",
	// a constraint
	"INSERT INTO u VALUES (7, 1), (1, 1)",
	"INSERT OR FAIL INTO u VALUES (7, 1), (1, 1), (8, 1)",
	"INSERT INTO w VALUES (7, 1), (8, NULL)",
	"UPDATE OR FAIL w SET b = CASE a WHEN 2 THEN NULL ELSE 9 END",
	"UPDATE d SET a = a + 10",
	"INSERT INTO d VALUES (1, 1), (1, 10)",
	// a foreign key
	"INSERT INTO d VALUES (1, 1), (7, 1)",
	"INSERT OR FAIL INTO c VALUES (30, 1), (31, 99), (1, 1)",
	"DELETE FROM q",
	"UPDATE q SET a = a + 10",
	"INSERT OR FAIL INTO later VALUES (1), (99)",
	// a foreign key whose action the statement's own clause keeps from mending what it has broken
	"UPDATE OR IGNORE pp SET a = a + 10",
	"UPDATE OR FAIL pp SET a = a + 10",
	"UPDATE OR REPLACE pp SET a = a + 10",
	// what a module says
	"INSERT INTO rt VALUES (5, 1, 2), (6, 3, 2)",
	"INSERT OR FAIL INTO rt VALUES (5, 1, 2), (1, 3, 4)",
	"INSERT INTO rt VALUES (5, 1, 2), (1, 3, 4)",
	"INSERT INTO ft (docid, a) VALUES (7, 'seven'), (1, 'again')",
	// nothing was executed
	"INSERT INTO nothing VALUES (1)",
	"INSERT INTO t VALUES (1)",
	"INSERT INTO t VALUES (?, 1)",
}

var failingBesideConflicts = []string{
	"DELETE FROM p WHERE a = 2",
	"DELETE FROM p",
	"UPDATE p SET a = 12 WHERE a = 2",
	"INSERT INTO p VALUES (20, 1), (21, 77)",
	"INSERT INTO p VALUES (20, 1), (21, 79)",
	"INSERT OR FAIL INTO p VALUES (20, 79)",
	"INSERT INTO p VALUES (20, 1), (21, 81)",
	"INSERT INTO s VALUES (10, 1), ('x', 2)",
	"INSERT INTO d VALUES (1, 1), (7, 1)",
	"INSERT INTO rt VALUES (5, 1, 2), (1, 3, 4)",
}

func TestAFailedStatementLeavesInAGroupWhatItLeavesByItself(t *testing.T) {
	plainHooked, groupedHooked := hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("failat", func(x, y int64) (int64, error) {
			if x == y {
				return 0, errors.New("an error of the program's")
			}
			return x + 100, nil
		}, false)
	})
	for _, c := range []struct {
		name           string
		plain, grouped string
		schema         []string
		queries        []string
	}{
		{"", "sqlite3", sqlite3.DriverName, halfway, failing},
		{"BesideConflictClauses", "sqlite3", sqlite3.DriverName, conflicting, failingBesideConflicts},
		{"OfTheProgramsFunctions", plainHooked, groupedHooked, halfway, []string{
			"UPDATE u SET a = failat(a, 2)",
			"INSERT INTO u (b) SELECT failat(a, 2) FROM u",
			"DELETE FROM w WHERE failat(b, 2) > 0",
			"INSERT INTO u VALUES (9, 1), (1, 1) ON CONFLICT DO UPDATE SET b = failat(1, 1)",
			"INSERT INTO s VALUES (10, 1), ('x', 2)",
		}},
	} {
		for _, query := range c.queries {
			t.Run(c.name+" "+query, func(t *testing.T) {
				t.Parallel()
				want := sameAsPlain(t, c.plain, c.grouped, "&_fk=1", c.schema,
					"INSERT INTO n VALUES (1)", query, "INSERT INTO n SELECT count(*) FROM t", query, "INSERT INTO n VALUES (2)")
				require.Error(t, want[1].err)
				for _, i := range []int{0, 2, 4} {
					require.NoError(t, want[i].err)
				}
			})
		}
	}
}

// What a failed statement leaves depends on what the schema says of conflicts, and that may have changed since the group before.
func TestWhatASchemaSaysOfConflictsIsAskedInEachGroup(t *testing.T) {
	for _, query := range failingBesideConflicts {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			around := func(query string) []string {
				return []string{"INSERT INTO n VALUES (1)", query, "INSERT INTO n SELECT count(*) FROM t"}
			}
			dsn := dsnOf(t, "&_fk=1")
			plain, grouped := openDB(t, "sqlite3", dsnOf(t, "&_fk=1"), halfway...), ours(t, dsn, halfway...)
			plain.SetMaxOpenConns(1)
			for i, queries := range [][]string{around("DELETE FROM q"), around(query)} {
				want, got := calls(queries...), calls(queries...)
				for _, c := range want {
					c.exec(plain)
				}
				asGroupBehind(t, ours(t, dsn), grouped, got)
				for i := range want {
					sameError(t, want[i].err, got[i].err, queries[i])
				}
				require.Error(t, got[1].err)
				require.Equal(t, dump(plain), dump(grouped))
				if i == 0 {
					for _, db := range []*sql.DB{plain, openDB(t, "sqlite3", dsn)} {
						for _, q := range conflicting[len(halfway):] {
							exec(t, db, q)
						}
					}
				}
			}
		})
	}
}

// A virtual table of the program's own, or of an extension, may not know of savepoints.
func TestWhereAModuleIsNotSQLitesOwnNothingIsLeftToSavepoints(t *testing.T) {
	for created, foreign := range map[string]bool{
		"CREATE TABLE virtual (a)":                                      false,
		"CREATE VIRTUAL TABLE a USING fts4 (b)":                         false,
		"CREATE VIRTUAL TABLE a using FTS5(b)":                          false,
		"CREATE VIRTUAL TABLE a USING rtree(id, x, y)":                  false,
		"CREATE VIRTUAL TABLE a USING mine":                             true,
		"CREATE VIRTUAL TABLE a USING \"mine\" (b)":                     true,
		"CREATE VIRTUAL TABLE \"using fts4\" USING mine":                true,
		"CREATE VIRTUAL TABLE a USING mine (using fts4)":                true,
		"CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 'CREATE'; END": false,
	} {
		require.Equal(t, foreign, sqlite3.IsForeign(created), created)
	}
}

// ended counts the transactions that write.
type ended struct{ commits, rollbacks atomic.Int64 }

func counting() (driverName string, n *ended) {
	n = new(ended)
	_, driverName = hookedDrivers(func(c *mattn.SQLiteConn) error {
		c.RegisterCommitHook(func() int { n.commits.Add(1); return 0 })
		c.RegisterRollbackHook(func() { n.rollbacks.Add(1) })
		return nil
	})
	return driverName, n
}

func TestAGroupIsOneCommitHoweverManyOfItsCallsFail(t *testing.T) {
	for name, queries := range map[string][2]string{
		"OfOneText": {"INSERT INTO s VALUES (?)", "INSERT INTO s VALUES (?)"},
		"OfTwo":     {"INSERT INTO s VALUES (?)", "INSERT INTO s VALUES (1), (?)"},
		"OfMany":    {"INSERT INTO s VALUES (?)", "INSERT INTO s VALUES (1), (?) -- %d"},
	} {
		t.Run(name, func(t *testing.T) {
			driverName, n := counting()
			db := openDB(t, driverName, dsnOf(t, ""), "CREATE TABLE s (a INT) STRICT")
			var cs []*call
			for i := range 60 {
				c := &call{query: queries[0], args: []any{i}}
				if i%3 == 1 {
					c = &call{query: queries[1], args: []any{"x"}}
					if strings.Contains(c.query, "%d") {
						c.query = fmt.Sprintf(c.query, i)
					}
				}
				cs = append(cs, c)
			}
			for again := range 2 {
				commits, rollbacks := n.commits.Load(), n.rollbacks.Load()
				asGroup(t, db, cs) // with a rollback of its own
				require.Equal(t, int64(1), n.commits.Load()-commits)
				require.Equal(t, int64(2-again), n.rollbacks.Load()-rollbacks, "it fails once for all; after that the texts are known")
				for i, c := range cs {
					if i%3 == 1 {
						require.ErrorContains(t, c.err, "cannot store TEXT value")
					} else {
						require.NoError(t, c.err)
					}
				}
			}
			require.Equal(t, 80, count(t, db, "SELECT count(*) FROM s"))
		})
	}
}

// What was recorded of an attempt that is rolled back is void, and so is what its calls were answered.
func TestIDsOfAGroupThatRunsAgainAreClaimedAgain(t *testing.T) {
	db, dsn := promising(t, "")
	exec(t, db, "CREATE TABLE s (a INT) STRICT")
	_, err := db.ExecContext(withID("old"), insertRow, 1, "v")
	require.NoError(t, err)
	release := hold(t, db)
	old := groupcommit.Go(withID("old"), ours(t, dsn+"&groupcommit_promises=on"), insertRow, 1, "v")
	var ps []*groupcommit.Promise
	for i := range 9 {
		if i%3 == 1 {
			ps = append(ps, groupcommit.Go(withID(fmt.Sprint(i)), db, "INSERT INTO s VALUES (1), (?)", "x"))
		} else {
			ps = append(ps, groupcommit.Go(withID(fmt.Sprint(i)), db, insertRow, 10+i, "v"))
		}
	}
	awaitQueued(t, db, len(ps))
	release()
	_, err = old.Await(background)
	require.NoError(t, err)
	for i, p := range ps {
		res, err := p.Await(background)
		if i%3 == 1 {
			require.Equal(t, mattn.ErrConstraint, code(t, err))
			continue
		}
		require.NoError(t, err)
		require.False(t, groupcommit.Deduplicated(res))
	}
	require.Zero(t, count(t, db, "SELECT count(*) FROM s"))
	require.Equal(t, 7, count(t, db, "SELECT count(*) FROM a"))
	require.Equal(t, 10, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
}

func TestAnErrorIsRecordedBesideNothingThatAutocommitWouldNotLeave(t *testing.T) {
	for _, c := range []struct {
		query    string
		recorded bool
		left     int
	}{
		{"INSERT INTO s VALUES (1), (?)", true, 0},                                 // a STRICT column's type
		{"INSERT OR FAIL INTO s VALUES (1), (?)", true, 0},                         // the same: it is none of those that FAIL is for
		{"INSERT INTO s SELECT sum(v) FROM src WHERE k <> ? GROUP BY k", false, 0}, // an overflow, which is not recorded
		{"INSERT INTO s SELECT a FROM u WHERE a > 0 OR a = ?", true, 0},            // a CHECK
		{"INSERT OR FAIL INTO s SELECT a FROM u WHERE a > 0 OR a = ?", true, 2},    // a CHECK with FAIL
		{"INSERT INTO u VALUES (7), (?)", true, 0},                                 // a mismatch
	} {
		t.Run(c.query, func(t *testing.T) {
			groups(t, func(t *testing.T, db *sql.DB, run func(string, string, ...any) (sql.Result, error)) {
				for _, q := range []string{"CREATE TABLE s (a INT CHECK (a < 3)) STRICT", "CREATE TABLE u (a INTEGER PRIMARY KEY)",
					"INSERT INTO u VALUES (1), (2), (3)", "CREATE TABLE src (k, v)",
					"INSERT INTO src VALUES (1, 1), (2, 9223372036854775807), (2, 1)"} {
					exec(t, db, q)
				}
				for again := range 2 {
					_, err := run("x", c.query, "x")
					require.Error(t, err)
					require.Equal(t, again == 1 && c.recorded, errors.As(err, new(*groupcommit.RejectedError)), err)
					require.Equal(t, c.left, count(t, db, "SELECT count(*) FROM s"))
					require.Equal(t, 3, count(t, db, "SELECT count(*) FROM u"))
				}
			})
		})
	}
}
