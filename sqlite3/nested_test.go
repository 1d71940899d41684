package sqlite3_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// What a program does inside of something else that it is doing on the same database.

func TestATransactionThatOnlyReadsBeginsBesideOneThatWrites(t *testing.T) {
	t.Parallel()
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	writing, err := db.Begin()
	require.NoError(t, err)
	exec(t, writing, "INSERT INTO a VALUES (1)")
	reading, err := db.Begin()
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, texts(reading, "SELECT count(*) FROM a"))
	_, err = reading.Exec("INSERT INTO a VALUES (2)")
	require.Equal(t, mattn.ErrBusy, code(t, err), "it is what it would be on the plain driver")
	require.NoError(t, reading.Rollback())
	require.NoError(t, writing.Commit())
	require.Equal(t, []string{"1"}, texts(db, "SELECT count(*) FROM a"))
}

// In rollback-journal mode a reader keeps the writer from committing. One that was overtaken must hear of it at once,
// and not wait for a turn while others wait for it.
func TestAnOvertakenTransactionDoesNotFailItsNeighbours(t *testing.T) {
	t.Parallel()
	dsn := strings.Replace(dsnOf(t, ""), "_journal=WAL", "_journal=DELETE", 1)
	db := ours(t, dsn, "CREATE TABLE a (n)")
	tx, err := db.Begin()
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"))
	neighbour := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)") // overtakes, and waits for the reader
	plain := openDB(t, "sqlite3", dsn+impatient)
	require.Eventually(t, func() bool { // until the neighbour has the lock: nobody else gets it then
		_, err := plain.Exec("BEGIN IMMEDIATE; ROLLBACK")
		return err != nil
	}, 10*time.Second, time.Millisecond)
	_, err = tx.Exec("INSERT INTO a VALUES (2)")
	require.Equal(t, mattn.ErrBusy, code(t, err))
	require.NoError(t, tx.Rollback())
	_, err = neighbour.Await(background)
	require.NoError(t, err)
}

func TestAFunctionThatWritesToItsOwnDatabaseFindsItBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for 10 seconds")
	}
	t.Parallel()
	var db *sql.DB
	var inner error
	_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("nested", func(n int64) int64 {
			_, inner = db.Exec("INSERT INTO a VALUES (?)", -n)
			return n
		}, false)
	})
	db = openDB(t, name, dsnOf(t, impatient), "CREATE TABLE a (n)")
	_, err := db.Exec("INSERT INTO a VALUES (nested(?))", 1)
	require.NoError(t, err)
	require.Equal(t, mattn.ErrBusy, code(t, inner))
	require.Equal(t, []string{"1"}, texts(db, "SELECT n FROM a"))
}

func TestAFunctionThatCallsWithTheIDThatItIsCalledByFindsTheDatabaseBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for 10 seconds")
	}
	t.Parallel()
	for name, ask := range map[string]func(db *sql.DB, query string) error{
		"Exec": func(db *sql.DB, query string) error { _, err := db.ExecContext(withID("mine"), query, 1); return err },
		"Go": func(db *sql.DB, query string) error {
			_, err := groupcommit.Go(withID("mine"), db, query, 1).Await(background)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const query = "INSERT INTO a VALUES (nested(?))"
			var db *sql.DB
			var inner error
			_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
				return c.RegisterFunc("nested", func(n int64) int64 {
					inner = ask(db, query)
					return n
				}, false)
			}, groupcommit.Promises())
			db = openDB(t, grouped, dsnOf(t, impatient), "CREATE TABLE a (n)")
			require.NoError(t, ask(db, query))
			require.Equal(t, mattn.ErrBusy, code(t, inner))
			require.Equal(t, []string{"1"}, texts(db, "SELECT n FROM a"))
			require.NoError(t, ask(db, query), "it is replayed")
			require.Equal(t, []string{"1"}, texts(db, "SELECT n FROM a"))
		})
	}
}

func TestTheTurnOfATransactionOutlivesItsDatabase(t *testing.T) {
	dsn := dsnOf(t, impatient)
	db := ours(t, dsn, "CREATE TABLE a (n)")
	tx, err := db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT INTO a VALUES (1)")
	require.NoError(t, db.Close())
	again := ours(t, dsn)
	p := groupcommit.Go(background, again, "INSERT INTO a VALUES (2)")
	require.NoError(t, tx.Commit())
	_, err = p.Await(background)
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, texts(again, "SELECT count(*) FROM a"))
}

func TestAHeldConnOfAMemoryDatabaseKeepsNobodyOut(t *testing.T) {
	db := ours(t, ":memory:", "CREATE TABLE a (n)")
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.PingContext(background))
	require.Equal(t, []string{"0"}, texts(conn, "SELECT count(*) FROM a"))
	exec(t, db, "INSERT INTO a VALUES (1)")
	require.Equal(t, []string{"1"}, texts(conn, "SELECT count(*) FROM a"))
}

func TestABeginThatWasPreparedStaysTentative(t *testing.T) {
	t.Parallel()
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	st, err := db.Prepare("BEGIN")
	require.NoError(t, err)
	require.NoError(t, st.Close())
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	exec(t, conn, "BEGIN")
	exec(t, db, "INSERT INTO a VALUES (1)")
	exec(t, conn, "ROLLBACK")
}
