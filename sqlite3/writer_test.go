package sqlite3_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNoWriterOfTheProcessFindsTheDatabaseLocked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "test.db")
	params := "?_journal=WAL&_sync=OFF" + impatient
	one := ours(t, "file:"+file+params, "CREATE TABLE counter (n)", "INSERT INTO counter VALUES (0)",
		"CREATE TABLE entries (id INTEGER PRIMARY KEY, who)")
	link := filepath.Join(dir, "link.db")
	require.NoError(t, os.Symlink(file, link))
	cwd, err := os.Getwd()
	require.NoError(t, err)
	relative, err := filepath.Rel(cwd, file)
	require.NoError(t, err)
	dbs := []*sql.DB{one, ours(t, "file:"+file+params), ours(t, "file:"+link+params), ours(t, relative+params)}

	ctx, cancel := context.WithTimeout(background, 1500*time.Millisecond)
	defer cancel()
	kinds := []func(t *testing.T, db *sql.DB, who, n int) (added int){
		addByExec, addByExec, addByExec, addByGo, addByTx, addByTxThatReadsFirst, addByReturning, addByDDL, addByTextOnAConn, addByOrRollback}
	added := make([]int, len(kinds)*len(dbs))
	var done sync.WaitGroup
	for who := range added {
		db, add := dbs[who%len(dbs)], kinds[who/len(dbs)]
		done.Go(func() {
			for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
				added[who] += add(t, db, who, n)
			}
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	total := 0
	for who, n := range added {
		total += n
		require.Positive(t, n, "goroutine %d", who)
		require.Equal(t, []string{strconv.Itoa(n)}, texts(one, "SELECT count(*) FROM entries WHERE who = "+strconv.Itoa(who)))
	}
	require.Equal(t, []string{strconv.Itoa(total)}, texts(one, "SELECT n FROM counter"), "no addition was lost")
	require.Equal(t, []string{"ok"}, texts(one, "PRAGMA integrity_check"))
	t.Logf("%d additions", total)
}

// Each of these counts one up and enters who did it, in one transaction or in two.

const (
	countUp = "UPDATE counter SET n = n + 1"
	enter   = "INSERT INTO entries (who) VALUES (?)"
)

func addByExec(t *testing.T, db *sql.DB, who, n int) int {
	_, err := db.Exec(countUp)
	assert.NoError(t, err, "Exec")
	_, err = db.Exec(enter, who)
	assert.NoError(t, err, "Exec")
	return 1
}

func addByGo(t *testing.T, db *sql.DB, who, n int) int {
	for _, p := range []*groupcommit.Promise{groupcommit.Go(background, db, countUp), groupcommit.Go(background, db, enter, who)} {
		_, err := p.Await(background)
		assert.NoError(t, err, "Go")
	}
	return 1
}

func addByTx(t *testing.T, db *sql.DB, who, n int) int {
	tx, err := db.Begin()
	if !assert.NoError(t, err, "Begin") {
		return 0
	}
	defer tx.Rollback()
	_, err = tx.Exec(countUp)
	assert.NoError(t, err, "Exec in a transaction")
	_, err = tx.Exec(enter, who)
	assert.NoError(t, err, "Exec in a transaction")
	if n%5 == 4 {
		return 0
	}
	assert.NoError(t, tx.Commit())
	return 1
}

func addByTxThatReadsFirst(t *testing.T, db *sql.DB, who, _ int) int {
	tx, err := db.Begin()
	if !assert.NoError(t, err, "Begin") {
		return 0
	}
	defer tx.Rollback()
	var n int
	assert.NoError(t, tx.QueryRow("SELECT n FROM counter").Scan(&n), "a read in a transaction")
	_, err = tx.Exec("UPDATE counter SET n = ?", n+1)
	assert.NoError(t, err, "a write after a read")
	_, err = tx.Exec(enter, who)
	assert.NoError(t, err, "a second one")
	assert.NoError(t, tx.Commit())
	return 1
}

func addByReturning(t *testing.T, db *sql.DB, who, n int) int {
	var got int
	assert.NoError(t, db.QueryRow(countUp+" RETURNING n").Scan(&got), "RETURNING")
	rows, err := db.Query("INSERT INTO entries (who) VALUES (?) RETURNING id", who)
	if assert.NoError(t, err, "RETURNING") {
		for rows.Next() {
			assert.NoError(t, rows.Scan(&got))
		}
		assert.NoError(t, rows.Err())
	}
	return 1
}

func addByDDL(t *testing.T, db *sql.DB, who, n int) int {
	table := "made" + strconv.Itoa(who)
	_, err := db.Exec("CREATE TABLE " + table + " AS SELECT 1")
	assert.NoError(t, err, "CREATE")
	_, err = db.Exec(countUp + "; DROP TABLE " + table)
	assert.NoError(t, err, "several statements")
	_, err = db.Exec(enter, who)
	assert.NoError(t, err, "Exec")
	return 1
}

func addByTextOnAConn(t *testing.T, db *sql.DB, who, n int) int {
	conn, err := db.Conn(background)
	if !assert.NoError(t, err, "Conn") {
		return 0
	}
	defer conn.Close()
	begin, end := "BEGIN", "COMMIT"
	if n%2 == 1 {
		begin, end = "BEGIN IMMEDIATE", "END"
	}
	for _, q := range []string{begin, countUp, "SAVEPOINT s", "DELETE FROM counter", "ROLLBACK TO s", "RELEASE s"} {
		_, err = conn.ExecContext(background, q)
		assert.NoError(t, err, q)
	}
	_, err = conn.ExecContext(background, enter, who)
	assert.NoError(t, err, "Exec in a transaction by text")
	_, err = conn.ExecContext(background, end)
	assert.NoError(t, err, end)
	return 1
}

func addByOrRollback(t *testing.T, db *sql.DB, who, n int) int {
	_, err := db.Exec("UPDATE OR ROLLBACK counter SET n = n + 1")
	assert.NoError(t, err, "OR ROLLBACK")
	_, err = db.ExecContext(groupcommit.NoBatch(background), enter, who)
	assert.NoError(t, err, "NoBatch")
	return 1
}

func TestAReadOnlyTransactionKeepsNobodyFromWriting(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	readers := []*sql.Tx{}
	for range 3 {
		tx, err := db.BeginTx(background, &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"))
		readers = append(readers, tx)
	}
	exec(t, db, "INSERT INTO a VALUES (1)")
	release := hold(t, db)
	release()
	asGroup(t, db, calls("INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3)"))
	for _, tx := range readers {
		require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"), "its snapshot")
		require.NoError(t, tx.Commit())
	}
	require.Equal(t, []string{"3"}, texts(db, "SELECT count(*) FROM a"))
}

func TestOpenRowsKeepNobodyFromWriting(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)", "INSERT INTO a VALUES (1), (2), (3)")
	rows, err := db.Query("SELECT n FROM a ORDER BY n")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var n int
		require.NoError(t, rows.Scan(&n))
		exec(t, db, "INSERT INTO a VALUES (?)", n+10)
		require.NoError(t, db.QueryRow("INSERT INTO a VALUES (?) RETURNING n", n+20).Scan(&n))
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{"9"}, texts(db, "SELECT count(*) FROM a"))
}

func TestATransactionThatOnlyReadsIsOvertaken(t *testing.T) {
	t.Parallel()
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	tx, err := db.Begin()
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"))
	exec(t, db, "INSERT INTO a VALUES (1)") // waits for a second
	require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"), "its snapshot")
	_, err = tx.Exec("INSERT INTO a VALUES (2)")
	require.Equal(t, mattn.ErrBusy, code(t, err), "as on the plain driver: the snapshot is stale")
	require.NoError(t, tx.Rollback())
	exec(t, db, "INSERT INTO a VALUES (3)")
	require.Equal(t, []string{"1", "3"}, texts(db, "SELECT n FROM a"))
}

func TestATransactionThatHasTheWriteLockIsNotOvertaken(t *testing.T) {
	for _, c := range []struct{ name, params, begin string }{
		{"BeginImmediateByText", "", "BEGIN IMMEDIATE"},
		{"BeginExclusiveByText", "", "BEGIN EXCLUSIVE TRANSACTION"},
		{"BeginAndWriteInOneText", "", "BEGIN; INSERT INTO a VALUES (1)"},
		{"BeginTxThatIsImmediate", "&_txlock=immediate", ""},
		{"SavepointAndWrite", "", "SAVEPOINT s; INSERT INTO a VALUES (1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := ours(t, dsnOf(t, impatient+c.params), "CREATE TABLE a (n)")
			conn, err := db.Conn(background)
			require.NoError(t, err)
			defer conn.Close()
			end := func() { exec(t, conn, "COMMIT") }
			if c.begin == "" {
				tx, err := conn.BeginTx(background, nil)
				require.NoError(t, err)
				end = func() { require.NoError(t, tx.Commit()) }
			} else {
				exec(t, conn, c.begin)
			}
			p := groupcommit.Go(background, db, "INSERT INTO a VALUES (2)")
			select {
			case <-p.Done(): // it has no right to be: neither done nor refused
			case <-time.After(1500 * time.Millisecond):
			}
			end()
			_, err = p.Await(background)
			require.NoError(t, err)
		})
	}
}

func TestExecBesideAnOwnTransactionIsBusyAndDoesNotHang(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for 10 seconds")
	}
	t.Parallel()
	dsn := dsnOf(t, impatient)
	db := ours(t, dsn, "CREATE TABLE a (n)")
	plain := openDB(t, "sqlite3", dsn)
	tx, err := db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT INTO a VALUES (1)")
	_, want := plain.Exec("INSERT INTO a VALUES (2)")
	require.Equal(t, mattn.ErrBusy, code(t, want))

	p := groupcommit.Go(background, db, "INSERT INTO a VALUES (3)")
	var queryErr error
	var waiting sync.WaitGroup
	waiting.Go(func() { queryErr = db.QueryRow("INSERT INTO a VALUES (4) RETURNING n").Scan(new(int)) })
	_, err = db.Exec("INSERT INTO a VALUES (2)")
	sameError(t, want, err, "Exec")
	_, err = p.Await(background)
	sameError(t, want, err, "Go")
	bounded.Wait(t, "the calls that waited are answered", waiting.Wait)
	sameError(t, want, queryErr, "RETURNING")

	require.NoError(t, tx.Commit())
	exec(t, db, "INSERT INTO a VALUES (5)")
	require.Equal(t, []string{"1", "5"}, texts(plain, "SELECT n FROM a"))
}

// A statement that the program executes and does not read to its end must not keep an old snapshot alive on a
// connection that others get next.
func TestAnExecutedSelectLeavesNoSnapshotBehind(t *testing.T) {
	for _, driverName := range []string{"sqlite3", "sqlite3-groupcommit"} {
		t.Run(driverName, func(t *testing.T) {
			db := openDB(t, driverName, dsnOf(t, impatient), "CREATE TABLE a (n)", "INSERT INTO a VALUES (1), (2)")
			st, err := db.Prepare("SELECT n FROM a WHERE n > ?")
			require.NoError(t, err)
			_, err = st.Exec(0)
			require.NoError(t, err)
			exec(t, db, "INSERT INTO a VALUES (3)")
			assert.Equal(t, []string{"3"}, texts(db, "SELECT count(*) FROM a"), "while the statement is open")
			require.NoError(t, st.Close())
			exec(t, db, "INSERT INTO a VALUES (4)")
			assert.Equal(t, []string{"4"}, texts(db, "SELECT count(*) FROM a"), "after the statement is closed")
		})
	}
}

func TestAPreparedTextIsPreparedAnewAfterASchemaChange(t *testing.T) {
	for _, driverName := range []string{"sqlite3", "sqlite3-groupcommit"} {
		t.Run(driverName, func(t *testing.T) {
			db := openDB(t, driverName, dsnOf(t, ""), "CREATE TABLE a (n)")
			db.SetMaxOpenConns(1)
			st, err := db.Prepare("SELECT n FROM a WHERE n > ?")
			require.NoError(t, err)
			require.NoError(t, st.Close())
			exec(t, db, "DROP TABLE a")
			_, err = db.Prepare("SELECT n FROM a WHERE n > ?")
			require.EqualError(t, err, "no such table: a")
		})
	}
}

// What a program leaves open on one connection must not cost another one its session: here a transaction that text
// began, on a connection that the pool then closes.
func TestAConnThatIsClosedTakesNoOtherSessionWithIt(t *testing.T) {
	for _, driverName := range []string{"sqlite3", "sqlite3-groupcommit"} {
		t.Run(driverName, func(t *testing.T) {
			db := openDB(t, driverName, dsnOf(t, impatient), "CREATE TABLE a (n)")
			db.SetMaxIdleConns(1)
			kept, err := db.Conn(background)
			require.NoError(t, err)
			closed, err := db.Conn(background)
			require.NoError(t, err)
			exec(t, kept, "CREATE TEMP TABLE mine (n)")
			exec(t, closed, "BEGIN")
			require.Equal(t, []string{"0"}, texts(closed, "SELECT count(*) FROM a"))
			require.NoError(t, kept.Close())   // the pool keeps this one,
			require.NoError(t, closed.Close()) // and has no place for that
			require.Equal(t, []string{"0"}, texts(db, "SELECT count(*) FROM mine"))
		})
	}
}

func TestTheArgumentsOfAPreparedStatementAreCountedBeforeItsTableIsMissed(t *testing.T) {
	for _, driverName := range []string{"sqlite3", "sqlite3-groupcommit"} {
		t.Run(driverName, func(t *testing.T) {
			db := openDB(t, driverName, dsnOf(t, ""), "CREATE TABLE a (n, m)")
			st, err := db.Prepare("INSERT INTO a VALUES (?, ?)")
			require.NoError(t, err)
			defer st.Close()
			exec(t, db, "DROP TABLE a")
			_, err = st.Query()
			require.EqualError(t, err, "sql: expected 2 arguments, got 0")
			_, err = st.Query(1, 2)
			require.EqualError(t, err, "no such table: a")
		})
	}
}
