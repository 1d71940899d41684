package sqlite3_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestAFailedCallIsAnsweredAloneAndItsNeighboursAreCommitted(t *testing.T) {
	const fk = "&_fk=1"
	rollback := []string{"CREATE TABLE a (n UNIQUE ON CONFLICT ROLLBACK)", "INSERT INTO a VALUES (1)", "CREATE TABLE b (n)"}
	raise := []string{"CREATE TABLE a (n)", "CREATE TABLE b (n)", `CREATE TRIGGER tr BEFORE INSERT ON a WHEN NEW.n < 0 BEGIN
		SELECT CASE NEW.n WHEN -1 THEN RAISE(ABORT, 'abort') WHEN -2 THEN RAISE(FAIL, 'fail') WHEN -3 THEN RAISE(IGNORE) ELSE RAISE(ROLLBACK, 'rollback') END; END`}
	foreign := []string{"CREATE TABLE p (n PRIMARY KEY)", "INSERT INTO p VALUES (1)", "CREATE TABLE now (n REFERENCES p)",
		"CREATE TABLE later (n REFERENCES p DEFERRABLE INITIALLY DEFERRED)", "CREATE TABLE b (n)"}
	unique := []string{"CREATE TABLE a (n UNIQUE)", "INSERT INTO a VALUES (1)", "CREATE TABLE b (n)"}

	for _, c := range []struct {
		name    string
		params  string
		schema  []string
		queries []string
		errs    string // the codes of the errors, '.' for none
	}{
		{"AConstraintInTheMiddle", "", unique,
			[]string{"INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (3)"}, ". 19 ."},
		{"AConstraintFirst", "", unique,
			[]string{"INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (2)"}, "19 . 19"},
		{"OnlyConstraints", "", unique,
			[]string{"INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (1)", "UPDATE a SET n = abs(-9223372036854775808)"}, "19 19 1"},
		{"OrAbortUndoesItsStatement", "", unique,
			[]string{"INSERT INTO b VALUES (1)", "INSERT OR ABORT INTO a VALUES (7), (8), (1), (9)", "INSERT INTO b SELECT count(*) FROM a"}, ". 19 ."},
		{"OrFailKeepsItsRows", "", unique,
			[]string{"INSERT INTO b VALUES (1)", "INSERT OR FAIL INTO a VALUES (7), (8), (1), (9)", "INSERT INTO b SELECT count(*) FROM a"}, ". 19 ."},
		{"OrIgnoreAndOrReplace", "", unique,
			[]string{"INSERT OR IGNORE INTO a VALUES (1), (2)", "INSERT OR REPLACE INTO a VALUES (1)", "REPLACE INTO a VALUES (2), (3)"}, ". . ."},
		{"ATableThatRollsBack", "", rollback,
			[]string{"INSERT INTO b VALUES (1)", "INSERT INTO b VALUES (2)", "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (3)", "INSERT INTO b VALUES (4)"}, ". . 19 . ."},
		{"ATableThatRollsBackFirstAndLast", "", rollback,
			[]string{"INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (3)", "INSERT INTO a VALUES (1)"}, "19 . 19"},
		{"ATableThatRollsBackManyTimes", "", rollback,
			strings.Split(strings.Repeat("INSERT INTO b VALUES (1);INSERT INTO a VALUES (1);", 9)+"INSERT INTO a VALUES (2)", ";"),
			strings.Repeat(". 19 ", 9) + "."},
		{"ACulpritKeepsItsPlace", "", rollback,
			[]string{"INSERT INTO b VALUES (1)", "INSERT INTO a VALUES (1)", "DELETE FROM a WHERE n = 1"}, ". 19 ."},
		{"RaiseRollback", "", raise,
			[]string{"INSERT INTO b VALUES (1)", "INSERT INTO a VALUES (-4)", "INSERT INTO a VALUES (2)"}, ". 19 ."},
		{"RaiseAll", "", raise, []string{"INSERT INTO a VALUES (1), (-1)", "INSERT INTO a VALUES (2), (-2)", "INSERT INTO a VALUES (3), (-3)",
			"INSERT INTO a VALUES (4), (-4)", "INSERT INTO a VALUES (5)"}, "19 19 . 19 ."},
		{"AForeignKey", fk, foreign,
			[]string{"INSERT INTO now VALUES (1)", "INSERT INTO now VALUES (2)", "DELETE FROM p", "INSERT INTO b VALUES (1)"}, ". 19 19 ."},
		{"ADeferredForeignKeyAtCommit", fk, foreign,
			[]string{"INSERT INTO b VALUES (1)", "INSERT INTO later VALUES (1)", "INSERT INTO later VALUES (2)", "INSERT INTO b VALUES (2)"}, ". . 19 ."},
		{"OnlyDeferredForeignKeys", fk, foreign,
			[]string{"INSERT INTO later VALUES (2)", "INSERT INTO later VALUES (3)"}, "19 19"},
		{"BadSQL", "", unique,
			[]string{"INSERT INTO a VALUES (2)", "INSERT INTO nothing VALUES (1)", "UPDATE a SET m = 1", "DELETE FROM a WHERE", "INSERT INTO a VALUES (?)", "INSERT INTO b VALUES (1)"},
			". 1 1 1 other ."},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := sameAsPlain(t, "sqlite3", sqlite3.DriverName, c.params, c.schema, c.queries...)
			var codes []string
			for _, w := range want {
				switch e := w.err.(type) {
				case nil:
					codes = append(codes, ".")
				case mattn.Error:
					codes = append(codes, fmt.Sprint(int(e.Code)))
				default:
					codes = append(codes, "other")
				}
			}
			require.Equal(t, c.errs, strings.Join(codes, " "), "the plain driver's errors")
		})
	}
}

func TestOrRollbackIsNotBatchedButWorksBesideGroups(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE a (n UNIQUE)", "INSERT INTO a VALUES (-1)")
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	_, err = db.Exec("INSERT OR ROLLBACK INTO a VALUES (-1)")
	require.Equal(t, mattn.ErrConstraint, code(t, err))
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, before.Calls, after.Calls, "calls of groups")

	errs := make([]error, 60)
	var done sync.WaitGroup
	for i := range errs {
		done.Go(func() {
			if i%3 == 0 {
				_, errs[i] = db.Exec("INSERT OR ROLLBACK INTO a VALUES (-1)")
			} else {
				_, errs[i] = db.Exec("INSERT INTO a VALUES (?)", i)
			}
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	for i, err := range errs {
		if i%3 == 0 {
			require.Equal(t, mattn.ErrConstraint, code(t, err))
		} else {
			require.NoError(t, err)
		}
	}
	require.Equal(t, []string{"41"}, texts(db, "SELECT count(*) FROM a"))
}

func TestAFullDatabaseIsItsOwnCallersOnly(t *testing.T) {
	plain, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("PRAGMA max_page_count = 20", nil)
		return err
	})
	want := sameAsPlain(t, plain, grouped, "", []string{"CREATE TABLE a (n, data)"},
		"INSERT INTO a VALUES (1, 'small')",
		"INSERT INTO a VALUES (2, zeroblob(500000))",
		"INSERT INTO a VALUES (3, 'small')",
		"UPDATE a SET data = zeroblob(500000) WHERE n = 1",
		"INSERT INTO a VALUES (4, 'small')")
	require.Equal(t, mattn.ErrFull, code(t, want[1].err))
	require.Equal(t, mattn.ErrFull, code(t, want[3].err))
}

func TestACommitHookThatSaysNoIsAskedForEveryCall(t *testing.T) {
	plain, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		wrote := false
		c.RegisterUpdateHook(func(_ int, _, table string, _ int64) { wrote = wrote || table == "forbidden" })
		c.RegisterRollbackHook(func() { wrote = false })
		c.RegisterCommitHook(func() int {
			if wrote {
				return 1
			}
			return 0
		})
		return nil
	})
	want := sameAsPlain(t, plain, grouped, "", []string{"CREATE TABLE a (n)", "CREATE TABLE forbidden (n)"},
		"INSERT INTO a VALUES (1)", "INSERT INTO forbidden VALUES (1)", "INSERT INTO a VALUES (2)")
	require.Equal(t, mattn.ErrConstraint, code(t, want[1].err))
}

// The statement that ends a context, its own and its neighbours', goes on for long enough to be interrupted.
func TestContextsThatEndWhileTheirGroupRunsInterruptNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("end_contexts", func() int { cancel(); return 1 }, false)
	})
	db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE a (n)")
	release := hold(t, db)
	queries := []string{
		"INSERT INTO a VALUES (?)",
		`WITH RECURSIVE c (i) AS (SELECT end_contexts() UNION ALL SELECT i + 1 FROM c WHERE i < 300000) INSERT INTO a SELECT max(i) FROM c WHERE i <> ?`,
		"INSERT INTO a VALUES (?)",
	}
	errs := make([]error, len(queries))
	var done sync.WaitGroup
	for i, q := range queries {
		done.Go(func() { _, errs[i] = db.ExecContext(ctx, q, -i) })
		awaitQueued(t, db, i+1)
	}
	release()
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Error(t, ctx.Err())
	require.Equal(t, make([]error, len(queries)), errs, "claimed calls have their true outcome")
	require.Equal(t, []string{"0", "300000", "-2"}, texts(db, "SELECT n FROM a"))
}

// count_changes makes a row of every INSERT's result. A statement that the engine keeps must not be left in the middle
// of it: a lone one would not be committed, and the COMMIT of a group would fail.
func TestGroupsWorkWhereAHookHasSetCountChanges(t *testing.T) {
	_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("PRAGMA count_changes = 1", nil)
		return err
	})
	db := openDB(t, grouped, dsnOf(t, impatient), "CREATE TABLE a (n)")
	exec(t, db, "INSERT INTO a VALUES (?)", 0)
	require.Equal(t, []string{"1"}, texts(openDB(t, "sqlite3", fileOf(t, db)), "SELECT count(*) FROM a"), "as another connection sees it")
	cs := calls("INSERT INTO a VALUES (?)", "INSERT INTO a VALUES (?)", "INSERT INTO a VALUES (3)")
	cs[0].args, cs[1].args = []any{1}, []any{2}
	asGroup(t, db, cs)
	for _, c := range cs {
		require.NoError(t, c.err)
	}
	require.Equal(t, []string{"4"}, texts(db, "SELECT count(*) FROM a"))
}

func TestWhatEveryStatementIsRefusedIsRefusedNatively(t *testing.T) {
	queries := []string{"INSERT INTO a VALUES (2)", "UPDATE a SET n = 3", "DELETE FROM a WHERE n > 100", "INSERT INTO nothing VALUES (1)"}
	for _, c := range []struct{ name, params string }{
		{"ReadOnlyDatabase", "?mode=ro"},
		{"QueryOnly", "?_query_only=1"},
		{"ImmutableDatabase", "?immutable=1&mode=ro"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := "file:" + t.TempDir() + "/test.db"
			made := openDB(t, "sqlite3", dsn+"?_journal=DELETE", "CREATE TABLE a (n)", "INSERT INTO a VALUES (1)")
			require.NoError(t, made.Close())
			plain, grouped := openDB(t, "sqlite3", dsn+c.params), ours(t, dsn+c.params)
			require.NoError(t, grouped.Ping())

			want, got := calls(queries...), calls(queries...)
			tx, err := grouped.Begin() // on a database that nobody can write to, a turn is what can be held
			require.NoError(t, err)
			require.Equal(t, []string{"1"}, texts(tx, "SELECT n FROM a"))
			var done sync.WaitGroup
			for i := range got {
				done.Go(func() { got[i].exec(grouped) })
				awaitQueued(t, grouped, i+1)
			}
			require.NoError(t, tx.Rollback())
			bounded.Wait(t, "the calls are answered", done.Wait)
			for i := range want {
				want[i].exec(plain)
				require.Error(t, want[i].err)
				sameError(t, want[i].err, got[i].err, want[i].query)
			}
			require.Equal(t, []string{"1"}, texts(grouped, "SELECT n FROM a"), "reads go on")
		})
	}
}

func TestAnotherProcessThatWritesMakesEveryCallOfTheGroupBusy(t *testing.T) {
	dsn := dsnOf(t, "&_busy_timeout=20")
	db := ours(t, dsn, "CREATE TABLE a (n)")
	plain := openDB(t, "sqlite3", dsn)
	release := startWriter(t, dsn)

	_, want := plain.Exec("INSERT INTO a VALUES (0)")
	require.Equal(t, mattn.ErrBusy, code(t, want))
	_, alone := db.Exec("INSERT INTO a VALUES (0)")
	sameError(t, want, alone, "a call that is alone")

	// A read transaction has the turn, so that the calls queue up, but not SQLite's lock, which the other process has.
	tx, err := db.Begin()
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"))
	group := calls("INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3)", "DELETE FROM a")
	var done sync.WaitGroup
	for i, c := range group {
		done.Go(func() { c.exec(db) })
		awaitQueued(t, db, i+1)
	}
	require.NoError(t, tx.Rollback())
	bounded.Wait(t, "the calls are answered", done.Wait)
	for i, c := range group {
		sameError(t, want, c.err, "call %d", i)
	}
	require.Equal(t, []string{"0"}, texts(db, "SELECT count(*) FROM a"), "reads go on")

	release()
	asGroup(t, db, group[:3])
	for _, c := range group[:3] {
		require.NoError(t, c.err)
	}
	require.Equal(t, []string{"3"}, texts(plain, "SELECT count(*) FROM a"))
}

func TestAGroupWaitsForAnotherProcessAsLongAsTheBusyTimeout(t *testing.T) {
	dsn := dsnOf(t, "&_busy_timeout=60000")
	db := ours(t, dsn, "CREATE TABLE a (n)")
	release := startWriter(t, dsn)
	p := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)")
	q := groupcommit.Go(background, db, "INSERT INTO a VALUES (2)")
	release()
	for _, p := range []*groupcommit.Promise{p, q} {
		_, err := p.Await(background)
		require.NoError(t, err)
	}
}

const writerEnv = "GROUPCOMMIT_TEST_WRITER"

// startWriter starts a process that has the database's write lock when startWriter returns, until release is called.
func startWriter(t *testing.T, dsn string) (release func()) {
	t.Helper()
	cmd := osexec.Command(os.Args[0], "-test.run=^TestWriterProcess$")
	cmd.Env = append(os.Environ(), writerEnv+"="+dsn)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	release = sync.OnceFunc(func() {
		in.Close()
		io.Copy(io.Discard, out)
		require.NoError(t, cmd.Wait())
	})
	t.Cleanup(release)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "writing\n", line)
	return release
}

// TestWriterProcess is the other process. It does nothing in an ordinary run.
func TestWriterProcess(t *testing.T) {
	dsn := os.Getenv(writerEnv)
	if dsn == "" {
		t.Skip("it is for the process that startWriter starts")
	}
	db, err := sql.Open("sqlite3", dsn)
	require.NoError(t, err)
	defer db.Close()
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(background, "BEGIN IMMEDIATE")
	require.NoError(t, err)
	fmt.Println("writing")
	io.Copy(io.Discard, os.Stdin)
	_, err = conn.ExecContext(background, "ROLLBACK")
	require.NoError(t, err)
}
