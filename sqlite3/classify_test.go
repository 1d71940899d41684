package sqlite3_test

import (
	"context"
	"database/sql/driver"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// actions of SQLite's authorizer that a statement of a group may ask for.
var harmless = []int{mattn.SQLITE_INSERT, mattn.SQLITE_UPDATE, mattn.SQLITE_DELETE, mattn.SQLITE_SELECT, mattn.SQLITE_READ,
	mattn.SQLITE_FUNCTION, 33 /* SQLITE_RECURSIVE */}

// functions that look at the session or change it.
var sessionFunctions = []string{"last_insert_rowid", "changes", "total_changes", "load_extension"}

// What the classifier calls Batch is for SQLite itself one statement that writes rows, does nothing to the session or
// the transaction, and leaves an open transaction open.
func FuzzBatchableIsOneStatement(f *testing.F) {
	for _, seed := range []string{
		"INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1, 2);", "INSERT INTO t VALUES (1, 2); DELETE FROM t", ";DELETE FROM t",
		"insert or rollback into t values (1, 2)", "UPDATE OR/**/ROLLBACK t SET a = 1", "UPDATE OR FAIL t SET a = 1", "REPLACE INTO t (a) VALUES (?)",
		"INSERT OR -- x\nROLLBACK INTO t VALUES (1, 2)", "INSERT INTO \"or\" VALUES (1)", "DELETE FROM [t;] WHERE 1; BEGIN", "DELETE FROM `t` -- ;\n; COMMIT",
		"INSERT INTO t (a) VALUES ('it''s; BEGIN')", "INSERT INTO t (a) VALUES ('\\'); BEGIN; --')", "INSERT INTO t (a) VALUES (x'00')",
		"WITH w AS (SELECT 1) INSERT INTO t (a) SELECT * FROM w", "WITH w AS (SELECT 1) SELECT * FROM w", "WITH w(a, b) AS MATERIALIZED (VALUES (1, 2)) UPDATE t SET a = (SELECT a FROM w)",
		"WITH RECURSIVE delete_ (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM delete_ LIMIT 3) DELETE FROM t WHERE a IN delete_",
		"INSERT INTO t (a) VALUES (last_insert_rowid())", "INSERT INTO t (a) VALUES (\"changes\"())", "UPDATE t SET a = [total_changes] ( )", "INSERT INTO t (a) VALUES (changes/* */())",
		"INSERT INTO t (a) SELECT load_extension('x')", "EXPLAIN INSERT INTO t VALUES (1, 2)", "PRAGMA user_version = 1", "BEGIN", "CREATE TEMP TABLE x (a)",
		"INSERT INTO t (a) VALUES (1) RETURNING *", "INSERT INTO t (a) VALUES (1) ON CONFLICT DO UPDATE SET a = 2", "/* ; */ INSERT /* ; */ INTO t (a) VALUES (1) /* ;",
		"INSERT INTO t (a) VALUES ($a::b(;))", "INSERT INTO t (a) VALUES (@a), (:b), (#c), (?9)", "INSERT INTO t (a) SELECT a FROM t WHERE a = $x(); BEGIN",
		"\ufeffINSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (1)\x00; BEGIN", "INSERT INTO t (a) VALUES ('a\x00'); BEGIN; --')", "\x0cDELETE\x0bFROM t", "DELETE FROM t;\u00a0BEGIN",
		"INSERT INTO u (a) VALUES (1)", "DELETE FROM t WHERE a = (SELECT RAISE(ROLLBACK, 'x'))", "DELETE FROM t WHERE a = 1e5;e5", "DELETE FROM t WHERE a = 1_0;_", "UPDATE t SET a = 'x' 'y'",
		"UPDATE t SET a = b -> '$.x'", "UPDATE t SET a = b ->> 1 --> ;", "DELETE FROM pragma_user_version", "INSERT INTO t (a) SELECT * FROM pragma_journal_mode('delete')", "UPDATE t SET a = 1 FROM u",
		"INSERT INTO t DEFAULT VALUES", "INSERT INTO temp.x VALUES (1)", "INSERT INTO main.t VALUES (1, 2)", "INSERT INTO \"t\"\"\" VALUES (1)", "DELETE FROM 't'; SAVEPOINT s", "DELETE FROM t WHERE a IS NOT NULL;;",
	} {
		f.Add(seed)
	}
	lite := new(oneConn)
	f.Cleanup(lite.close)
	f.Fuzz(func(t *testing.T, query string) {
		if sqltext.Classify(sqltext.SQLite, query).Class != sqltext.Batch {
			return
		}
		lite.check(t, query)
	})
}

// The fuzz target checks something only if the classifier calls something Batch.
func TestOrdinaryStatementsAreBatchable(t *testing.T) {
	for _, query := range []string{
		"INSERT INTO t VALUES (1, 2)", "insert or ignore into t (a) values (?);", "REPLACE INTO t (a) VALUES (:a)", "UPDATE t SET a = 'BEGIN;' WHERE b IN (SELECT 1)",
		"DELETE FROM t", " -- x\n/* ; */ DELETE FROM t /* y */", "WITH w AS (SELECT 1) DELETE FROM t WHERE a IN w", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING",
		"INSERT INTO t (a) VALUES (1) RETURNING a",
	} {
		require.Equal(t, sqltext.Batch, sqltext.Classify(sqltext.SQLite, query).Class, query)
		lite := new(oneConn)
		lite.check(t, query)
		lite.close()
	}
}

func TestWhatIsNotOneWriteIsNotBatchable(t *testing.T) {
	for _, query := range []string{
		"", ";", "SELECT 1", "BEGIN", "COMMIT", "PRAGMA user_version = 1", "CREATE TABLE x (a)", "INSERT INTO t VALUES (1, 2); INSERT INTO t VALUES (3, 4)",
		"INSERT OR ROLLBACK INTO t (a) VALUES (1)", "UPDATE OR /* */ ROLLBACK t SET a = 1", "EXPLAIN DELETE FROM t", "INSERT INTO t (a) VALUES (changes())",
		"DELETE FROM t; COMMIT", "VACUUM", "ATTACH ':memory:' AS m", "DELETE FROM t WHERE a = 'x", "WITH w AS (SELECT 1) SELECT * FROM w", "MERGE INTO t",
	} {
		require.NotEqual(t, sqltext.Batch, sqltext.Classify(sqltext.SQLite, query).Class, query)
	}
}

// oneConn is a connection that tells what a statement asks for when it is prepared.
type oneConn struct {
	*mattn.SQLiteConn
	bad string // what it asked for and should not have
}

func (c *oneConn) open(t *testing.T) {
	conn, err := (&mattn.SQLiteDriver{}).Open(":memory:")
	require.NoError(t, err)
	c.SQLiteConn = conn.(*mattn.SQLiteConn)
	for _, q := range []string{
		"CREATE TABLE t (a UNIQUE, b)", "CREATE TABLE u (a UNIQUE NOT NULL CHECK (a < 5), b)", `CREATE TABLE "or" (a)`, "CREATE TABLE [t;] (a)", `CREATE TABLE "t""" (a)`,
		"INSERT INTO t VALUES (1, 1), (2, 2)", "INSERT INTO u VALUES (1, 1)", "CREATE TEMP TABLE x (a)",
	} {
		_, err := c.Exec(q, nil)
		require.NoError(t, err, q)
	}
	c.SetLimit(mattn.SQLITE_LIMIT_LENGTH, 100_000) // no zeroblob(1e9)
	c.SetLimit(mattn.SQLITE_LIMIT_COMPOUND_SELECT, 20)
	c.RegisterAuthorizer(func(action int, a, b, _ string) int {
		if !slices.Contains(harmless, action) || action == mattn.SQLITE_FUNCTION && slices.Contains(sessionFunctions, strings.ToLower(b)) {
			c.bad = strings.Join([]string{"action", strconv.Itoa(action), a, b}, " ")
		}
		return mattn.SQLITE_OK
	})
}

func (c *oneConn) close() {
	if c.SQLiteConn != nil {
		c.Close()
	}
}

func (c *oneConn) check(t *testing.T, query string) {
	if c.SQLiteConn == nil {
		c.open(t)
	}
	c.bad = ""
	prepared, err := c.Prepare(query)
	if err != nil {
		return // its caller gets the error, in a group or not
	}
	st := prepared.(*mattn.SQLiteStmt)
	inside := reflect.ValueOf(st).Elem()
	none, tail, readonly := inside.FieldByName("s").IsNil(), inside.FieldByName("t").String(), false
	if !none {
		readonly = st.Readonly()
	}
	args := make([]driver.NamedValue, st.NumInput())
	for i := range args {
		args[i].Ordinal = i + 1
	}
	require.NoError(t, st.Close())
	require.False(t, none, "no statement: %q", query)
	require.Empty(t, tail, "more than one statement: %q", query)
	require.False(t, readonly, "it does not write: %q", query)
	require.Empty(t, c.bad, "%q", query)

	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond) // it may not end
	defer cancel()
	_, err = c.Exec("BEGIN", nil)
	require.NoError(t, err)
	_, err = c.ExecContext(ctx, query, args)
	open := !c.AutoCommit()
	c.Exec("ROLLBACK", nil)
	if ctx.Err() != nil {
		return // the interrupt has ended the transaction
	}
	require.True(t, open, "%q ended the transaction: %v", query, err)
}
