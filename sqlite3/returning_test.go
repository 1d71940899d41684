package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// together runs steps as one group, in their order, on a database that has a table t. Each has a goroutine of its own.
func together(t testing.TB, db *sql.DB, steps ...func()) {
	t.Helper()
	hold, err := db.Begin()
	require.NoError(t, err)
	exec(t, hold, "UPDATE t SET rowid = 1 WHERE 0") // and not hold's CREATE TABLE, which would have statements prepared anew
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	var done sync.WaitGroup
	for i, step := range steps {
		done.Go(step)
		awaitQueued(t, db, i+1)
	}
	require.NoError(t, hold.Rollback())
	bounded.Wait(t, "the callers are answered", done.Wait)
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, before.Groups+1, after.Groups, "the calls were not one group")
}

// rowsAsPlain runs steps one after the other on the plain driver, and as one group on ours, and requires the same answers and the
// same database. It returns the answers.
func rowsAsPlain(t testing.TB, plain, grouped string, schema []string, ops ...diffOp) []string {
	t.Helper()
	const params = "&_fk=1"
	p, g := openDB(t, plain, dsnOf(t, params), schema...), openDB(t, grouped, dsnOf(t, params), schema...)
	p.SetMaxOpenConns(1)
	runners := func(db *sql.DB) (rs []*diffRunner) {
		for _, op := range ops {
			r := &diffRunner{db: db, on: db}
			if strings.HasPrefix(op.what, "stmt") {
				st, err := db.Prepare(op.sql)
				require.NoError(t, err)
				t.Cleanup(func() { st.Close() })
				r.stmts[0] = st
			}
			rs = append(rs, r)
		}
		return rs
	}
	var want []string
	got := make([]string, len(ops))
	var steps []func()
	for i, r := range runners(p) {
		want = append(want, r.do(ops[i]))
	}
	for i, r := range runners(g) {
		steps = append(steps, func() { got[i] = r.do(ops[i]) })
	}
	together(t, g, steps...)
	for i := range ops {
		require.Equal(t, want[i], got[i], "step %d: %s", i, ops[i])
	}
	require.Equal(t, dump(p), dump(g))
	require.Equal(t, dump(p), dump(openDB(t, plain, fileOf(t, g))), "as another connection sees it")
	return want
}

// query is a step; first reads one row and closes the others.
func query(text string, args ...any) diffOp { return diffOp{what: "query", sql: text, args: args} }
func first(text string, args ...any) diffOp { return diffOp{what: "first", sql: text, args: args} }

// other is a neighbour.
func other(n int) diffOp {
	return diffOp{what: "exec", sql: "INSERT INTO log VALUES (?)", args: []any{n}, counted: true}
}

var returningSchema = []string{
	"CREATE TABLE log (n)",
	"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE)",
	"CREATE TABLE child (id INTEGER PRIMARY KEY, parent INT REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
	"CREATE TABLE now (id INTEGER PRIMARY KEY, parent INT REFERENCES t)",
	`CREATE TABLE every (i INTEGER, big BIGINT, r REAL, d DOUBLE PRECISION, n NUMERIC(10, 2), x TEXT, v VARCHAR(20), bl BLOB, ok BOOLEAN,
		at TIMESTAMP, dt DATETIME, day DATE, own MONEY, none, g TEXT AS (x || '!'))`,
}

// Each line of the table of what a query with RETURNING does on the plain driver, alone and beside neighbours whose calls fail or not.
func TestAQueryInAGroupAnswersAsOnThePlainDriver(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 123456000, time.UTC)
	for name, ops := range map[string][]diffOp{
		"one row":                {query("INSERT INTO t (a) VALUES (?) RETURNING id, a", "x")},
		"three rows":             {query("INSERT INTO t (a) VALUES (?), ('y'), ('z') RETURNING id, a", "x")},
		"three rows, one read":   {first("INSERT INTO t (a) VALUES (?), ('y'), ('z') RETURNING id, a", "x")},
		"no arguments":           {query("INSERT INTO t (a) VALUES ('x') RETURNING *")},
		"no row":                 {query("UPDATE t SET a = ? WHERE id = 77 RETURNING id", "x"), first("DELETE FROM t WHERE id = ? RETURNING *", 77)},
		"update and delete":      {query("INSERT INTO t (a) VALUES (?) RETURNING id", "x"), query("UPDATE t SET a = ? RETURNING a, id", "y"), query("DELETE FROM t WHERE id > ? RETURNING *", 0)},
		"upsert":                 {query("INSERT INTO t (id, b) VALUES (?, 1) ON CONFLICT (b) DO UPDATE SET a = 'up' RETURNING id, a", 9), query("INSERT INTO t (id, b) VALUES (?, 1) ON CONFLICT (b) DO NOTHING RETURNING id, a", 10)},
		"with":                   {query("WITH n (v) AS (VALUES (?), (2)) INSERT INTO t (b) SELECT v FROM n RETURNING b", 1)},
		"constraint":             {query("INSERT INTO t (b) VALUES (?), (2), (1) RETURNING id", 1), query("INSERT INTO t (b) VALUES (?) RETURNING id", 1)},
		"constraint, OR FAIL":    {query("INSERT OR FAIL INTO t (b) VALUES (?), (2), (1) RETURNING id", 1)},
		"OR IGNORE, OR REPLACE":  {query("INSERT OR IGNORE INTO t (b) VALUES (?), (2), (1) RETURNING id", 1), query("INSERT OR REPLACE INTO t (b) VALUES (?), (2), (1) RETURNING id", 1)},
		"foreign key":            {query("INSERT INTO now (parent) VALUES (?) RETURNING id", 9)},
		"deferred key":           {query("INSERT INTO child (parent) VALUES (?) RETURNING id, parent", 9)},
		"deferred key, one read": {first("INSERT INTO child (parent) VALUES (?), (8) RETURNING id, parent", 9)},
		"failing expression":     {query("INSERT INTO t (b) VALUES (1), (2) RETURNING CASE b WHEN ? THEN abs(-9223372036854775808) END", 2)},
		"no such table":          {query("INSERT INTO nothing (b) VALUES (?) RETURNING b", 2), query("INSERT INTO t (b) VALUES (?) RETURNING nothing", 2)},
		"too few arguments":      {query("INSERT INTO t (a, b) VALUES (?, ?) RETURNING *", 2)},
		"too many arguments":     {query("INSERT INTO t (a) VALUES (?) RETURNING *", 2, 3)},
		"named arguments":        {query("INSERT INTO t (a, b) VALUES (:x, @y) RETURNING *", sql.Named("x", "n"), sql.Named("y", 3)), query("INSERT INTO t (a) VALUES ($x) RETURNING *", sql.Named("z", 3))},
		"types": {query("INSERT INTO every VALUES (?, 1, 1.5, 2, 3, 'text', 'v', x'00ff', 1, ?, 1700000000, '2024-01-01', 1, 'n') RETURNING *, i + 1 AS sum, x || v", 1, at),
			query("INSERT INTO every (bl, at, ok) VALUES (?, 'no time', 7), (x'', NULL, NULL) RETURNING bl, at, ok, rowid", []byte("blob"))},
		"prepared":       {{what: "stmt query", sql: "INSERT INTO t (a) VALUES (?) RETURNING id, a", args: []any{"x"}}},
		"by Exec":        {{what: "exec", sql: "INSERT INTO t (a) VALUES (?) RETURNING id", args: []any{"x"}}},
		"two statements": {query("INSERT INTO t (a) VALUES (?) RETURNING id /* ; */ -- the end", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			ops := append(append([]diffOp{other(1)}, ops...), other(2), query("INSERT INTO log VALUES (?) RETURNING n", 3))
			rowsAsPlain(t, "sqlite3", sqlite3.DriverName, returningSchema, ops...)
			rowsAsPlain(t, "sqlite3-wrapped", "sqlite3-wrapped-groupcommit", returningSchema, ops...)
		})
	}
}

// A kept statement is compiled anew when the schema has changed, and then has other columns.
func TestAQueryInAGroupHasTheColumnsOfTheLatestSchema(t *testing.T) {
	db := ours(t, dsnOf(t, ""), returningSchema...)
	insert := func(want ...string) func() {
		return func() {
			rows, err := db.Query("INSERT INTO t (a) VALUES (?) RETURNING *", "x")
			require.NoError(t, err)
			defer rows.Close()
			names, err := rows.Columns()
			require.NoError(t, err)
			require.Equal(t, want, names)
			types, err := rows.ColumnTypes()
			require.NoError(t, err)
			require.Equal(t, "TEXT", types[1].DatabaseTypeName())
		}
	}
	for range 2 {
		together(t, db, insert("id", "a", "b"), insert("id", "a", "b"))
	}
	exec(t, openDB(t, "sqlite3", fileOf(t, db)), "ALTER TABLE t RENAME COLUMN b TO c")
	together(t, db, insert("id", "a", "c"), insert("id", "a", "c"))
	exec(t, db, "ALTER TABLE t ADD COLUMN d")
	together(t, db, insert("id", "a", "c", "d"), insert("id", "a", "c", "d"))
}

func TestRowsOfAQueryInAGroupAreCommittedWhenTheyAreHandedOut(t *testing.T) {
	var groups [][]string
	_, grouped := hookedDrivers(nil, groupcommit.OnGroup(func(i groupcommit.GroupInfo) {
		var texts []string
		for _, c := range i.Calls {
			texts = append(texts, c.Query)
		}
		groups = append(groups, texts)
	}))
	db := openDB(t, grouped, dsnOf(t, ""), returningSchema...)
	witness := openDB(t, "sqlite3", fileOf(t, db))
	groups = nil
	const text = "INSERT INTO t (b) VALUES (?) RETURNING id"
	ask := func(n int) func() {
		return func() {
			rows, err := db.Query(text, n)
			require.NoError(t, err)
			defer rows.Close()
			require.Equal(t, 1, count(t, witness, fmt.Sprintf("SELECT count(*) FROM t WHERE b = %d", n)), "before the first row is read")
			require.True(t, rows.Next())
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
		}
	}
	together(t, db, ask(1), ask(2), func() { exec(t, db, "INSERT INTO log VALUES (?)", 1) })
	require.Equal(t, [][]string{{text, text, "INSERT INTO log VALUES (?)"}}, groups, "a query is a call of the group")
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.EqualValues(t, 3, st.MaxGroup)
}

// What is over the bound is right, and costs no neighbour his answer. Its text then stays out of groups.
func TestAQueryWithMoreRowsThanAGroupKeepsRunsAlone(t *testing.T) {
	const many = "WITH RECURSIVE n (v) AS (VALUES (1) UNION ALL SELECT v + 1 FROM n WHERE v < ?) INSERT INTO t (b) SELECT v FROM n RETURNING b"
	const wide = "INSERT INTO t (a) VALUES (printf('%.*c', ?, 'x')) RETURNING a"
	for name, large := range map[string]diffOp{"rows": query(many, 257), "twenty thousand rows": query(many, 20_000), "bytes": query(wide, 70_000)} {
		t.Run(name, func(t *testing.T) {
			rowsAsPlain(t, "sqlite3", sqlite3.DriverName, returningSchema, other(1), large, other(2), query("INSERT INTO log VALUES (?) RETURNING n", 3))
		})
	}
	for name, small := range map[string]diffOp{"rows": query(many, 256), "bytes": query(wide, 60_000)} {
		t.Run("up to the bound, "+name, func(t *testing.T) {
			rowsAsPlain(t, "sqlite3", sqlite3.DriverName, returningSchema, other(1), small, other(2))
		})
	}
	var told [][]string
	_, grouped := hookedDrivers(nil, groupcommit.OnGroup(func(i groupcommit.GroupInfo) {
		var texts []string
		for _, c := range i.Calls {
			texts = append(texts, c.Query)
		}
		told = append(told, texts)
	}))
	db := openDB(t, grouped, dsnOf(t, ""), returningSchema...)
	told = nil
	calls := func() int64 {
		st, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		return int64(st.Calls)
	}
	ask := func() { require.Len(t, texts(db, strings.ReplaceAll(many, "?", "300")), 300) }
	together(t, db, ask, func() { exec(t, db, "INSERT INTO log VALUES (?)", 1) })
	require.Equal(t, [][]string{{"INSERT INTO log VALUES (?)"}}, told, "the query is in no group")
	before := calls()
	exec(t, db, "DELETE FROM t")
	ask()
	require.Equal(t, before+1, calls(), "only the DELETE was a member")
}

// However few rows a text has had, the next time it may have a million. Then they come one by one, and nothing is committed before.
func TestAQueryThatNeverHadManyRowsStreamsThemWhenItHas(t *testing.T) {
	const text, most = "DELETE FROM t WHERE id <= ? RETURNING id", 20_000
	for _, prepared := range []bool{false, true} {
		db := ours(t, dsnOf(t, ""), returningSchema...)
		witness := openDB(t, "sqlite3", fileOf(t, db))
		exec(t, db, fmt.Sprintf("WITH RECURSIVE n (v) AS (VALUES (1) UNION ALL SELECT v + 1 FROM n WHERE v < %d) INSERT INTO t (b) SELECT v FROM n", most))
		st, err := db.Prepare(text)
		require.NoError(t, err)
		defer st.Close()
		ask := func(n int) *sql.Rows {
			ask := func(n int) (*sql.Rows, error) { return db.Query(text, n) }
			if prepared {
				ask = func(n int) (*sql.Rows, error) { return st.Query(n) }
			}
			rows, err := ask(n)
			require.NoError(t, err)
			return rows
		}
		few := func() { require.NoError(t, ask(0).Close()) }
		together(t, db, few, few, few)
		together(t, db, func() {
			rows := ask(most)
			defer rows.Close()
			require.True(t, rows.Next())
			require.Equal(t, most, count(t, witness, "SELECT count(*) FROM t"), "while its rows are open")
			n := 1
			for rows.Next() {
				n++
			}
			require.NoError(t, rows.Err())
			require.Equal(t, most, n)
		}, func() { exec(t, db, "INSERT INTO log VALUES (?)", 1) })
		require.Zero(t, count(t, db, "SELECT count(*) FROM t"))
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM log"))
	}
}

// The road of a query that cannot be a member is the one that it has without groups.
func TestAQueryThatKeepsItsConnectionJoinsNoGroup(t *testing.T) {
	db := ours(t, dsnOf(t, ""), returningSchema...)
	calls := func() (n int64) {
		st, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		return int64(st.Calls)
	}
	var id int
	const text = "INSERT INTO t (a) VALUES (?) RETURNING id"
	require.NoError(t, db.QueryRowContext(groupcommit.NoBatch(background), text, "x").Scan(&id))
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, tx.QueryRow(text, "y").Scan(&id))
	require.NoError(t, tx.Rollback())
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	exec(t, conn, "CREATE TEMP TABLE mine (a)")
	require.NoError(t, conn.QueryRowContext(background, text, "z").Scan(&id))
	require.Zero(t, calls())
	require.Equal(t, []string{"x", "z"}, texts(db, "SELECT a FROM t ORDER BY id"))
	require.NoError(t, db.QueryRow(text, "x").Scan(&id))
	require.EqualValues(t, 1, calls())
}

// As on the plain driver: a query that is alone is committed when its rows are closed.
func TestAQueryThatFindsNoOtherMemberStreamsItsRows(t *testing.T) {
	db := ours(t, dsnOf(t, ""), returningSchema...)
	witness := openDB(t, "sqlite3", fileOf(t, db))
	rows, err := db.Query("INSERT INTO t (b) VALUES (?), (2) RETURNING b", 1)
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.Equal(t, 0, count(t, witness, "SELECT count(*) FROM t"))
	next := make(chan error, 1)
	go func() {
		_, err := db.Exec("INSERT INTO log VALUES (?)", 1) // leads, and waits for the turn
		next <- err
	}()
	require.NoError(t, rows.Close())
	require.NoError(t, <-next)
	require.Equal(t, 2, count(t, witness, "SELECT count(*) FROM t"))
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.EqualValues(t, 2, st.Alone)
}

func TestAContextCountsUntilAGroupHasTheQuery(t *testing.T) {
	var cancel context.CancelFunc
	_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("cancelling", func(n int64) int64 { cancel(); return n }, false)
	})
	db := openDB(t, grouped, dsnOf(t, ""), returningSchema...)
	ctx, stop := context.WithCancel(background)
	release := hold(t, db)
	gone := make(chan error, 1)
	go func() {
		_, err := db.QueryContext(ctx, "INSERT INTO t (b) VALUES (?) RETURNING b", 1)
		gone <- err
	}()
	awaitQueued(t, db, 1)
	var done sync.WaitGroup
	done.Go(func() { exec(t, db, "INSERT INTO log VALUES (?)", 1) })
	done.Go(func() { exec(t, db, "INSERT INTO log VALUES (?)", 2) })
	awaitQueued(t, db, 3)
	stop()
	require.ErrorIs(t, <-gone, context.Canceled)
	release()
	bounded.Wait(t, "the others are answered", done.Wait)
	require.Equal(t, 0, count(t, db, "SELECT count(*) FROM t"), "its context had ended before a group had it")

	ctx, stop = context.WithCancel(background)
	defer stop()
	cancel = stop
	together(t, db, func() {
		rows, err := db.QueryContext(ctx, "INSERT INTO t (b) VALUES (cancelling(?)) RETURNING b", 2)
		if err == nil {
			rows.Close()
		}
		require.NoError(t, err, "the group had it")
	}, func() { exec(t, db, "INSERT INTO log VALUES (?)", 3) })
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM t"))
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM log"))
}

func TestAFunctionThatPanicsInAQueryOfAGroupIsItsCallersOnly(t *testing.T) {
	inJournals(t, func(t *testing.T, dsn string) {
		db := openDB(t, booming(), dsn, "CREATE TABLE t (a)")
		for _, text := range []string{"INSERT INTO t SELECT boom(value) FROM json_each(?) RETURNING a", "INSERT INTO t SELECT value FROM json_each(?) RETURNING boom(a)"} {
			exec(t, db, "DELETE FROM t")
			got := make([]string, 3)
			ask := func(i int, values string) func() {
				return func() { got[i] = ending(func() { require.NoError(t, db.QueryRow(text, values).Scan(new(int))) }) }
			}
			together(t, db, ask(0, "[1]"), ask(1, "[2,13]"), ask(2, "[3]"))
			require.Equal(t, []string{"return", "boom", "return"}, got)
			require.Equal(t, []string{"1", "3"}, texts(db, "SELECT a FROM t ORDER BY a"))
		}
		free(t, dsn)
	})
}

func TestQueriesOfADatabaseInMemoryAreMembersToo(t *testing.T) {
	db := ours(t, ":memory:", returningSchema...)
	var done sync.WaitGroup
	seen := make([]int, 65)
	var mu sync.Mutex
	for range 64 {
		done.Go(func() {
			var id int
			require.NoError(t, db.QueryRow("INSERT INTO t (a) VALUES (?) RETURNING id", "x").Scan(&id))
			mu.Lock()
			seen[id]++
			mu.Unlock()
		})
	}
	bounded.Wait(t, "all are answered", done.Wait)
	require.NotContains(t, seen[1:], 0, "each id once")
}
