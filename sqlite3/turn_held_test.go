package sqlite3_test

import (
	"database/sql"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These stories have SQLite in a bubble with a clock of its own, which goes on only when every goroutine waits. So what has
// not happened after synctest.Wait does not happen by itself, and a wait takes exactly as long as its limit.

// A write statement holds SQLite's lock until its rows are closed. A second statement on the same Conn ends in between, and
// its end is not the end of the turn.
func TestRowsOfAWriteKeepTheTurnWhenAnotherStatementOnTheirConnEnds(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, conn *sql.Conn){
		"Exec":  func(t *testing.T, conn *sql.Conn) { exec(t, conn, "INSERT INTO a VALUES (10)") },
		"Query": func(t *testing.T, conn *sql.Conn) { require.Len(t, texts(conn, "SELECT n FROM a"), 3) },
		"Rows": func(t *testing.T, conn *sql.Conn) {
			require.Len(t, texts(conn, "INSERT INTO a VALUES (11), (12) RETURNING n"), 2)
		},
		"Ping": func(t *testing.T, conn *sql.Conn) { require.NoError(t, conn.PingContext(background)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
				conn, err := db.Conn(background)
				require.NoError(t, err)
				defer conn.Close()
				rows, err := conn.QueryContext(background, "INSERT INTO a VALUES (1), (2), (3) RETURNING n")
				require.NoError(t, err)
				defer rows.Close()
				require.True(t, rows.Next())
				between(t, conn)

				p := groupcommit.Go(background, db, "INSERT INTO a VALUES (20)")
				synctest.Wait()
				require.Equal(t, durable.Pending, p.State(), "the lock is held")
				require.NoError(t, rows.Close())
				_, err = p.Await(background)
				require.NoError(t, err)
			})
		})
	}
}

// A call waits for other writers for as long as the busy timeout says, wherever it waits: first in the queue behind a
// leader that has no turn, and then for the turn as the leader.
func TestACallWaitsNoLongerThanTheBusyTimeoutInTheQueueAndForTheTurnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := ours(t, dsnOf(t, "&_busy_timeout=5000"), "CREATE TABLE a (n)")
		release := hold(t, db)
		defer release()
		first := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)")
		time.Sleep(3 * time.Second)
		asked := time.Now()
		second := groupcommit.Go(background, db, "INSERT INTO a VALUES (2)")
		for _, p := range []*groupcommit.Promise{first, second} {
			_, err := p.Await(background)
			require.Equal(t, mattn.ErrBusy, code(t, err))
		}
		require.Equal(t, 5*time.Second, time.Since(asked), "by the bubble's clock")
	})
}

// The sweep of old promises is a writer of this process like any other: it waits for its turn and has others wait.
func TestTheSweepOfOldPromisesWritesInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deletes atomic.Int32 // statements that were prepared
		_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
			c.RegisterAuthorizer(func(op int, table, _, _ string) int {
				if op == mattn.SQLITE_DELETE && table == "groupcommit_promises" {
					deletes.Add(1)
				}
				return mattn.SQLITE_OK
			})
			return nil
		}, groupcommit.Promises(), groupcommit.Retention(time.Hour))
		db := openDB(t, name, dsnOf(t, impatient), "CREATE TABLE a (n)")
		_, err := db.ExecContext(withID("old"), "INSERT INTO a VALUES (1)")
		require.NoError(t, err)
		twoConns(t, db)
		release := hold(t, db)
		before := deletes.Load()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Equal(t, before, deletes.Load(), "somebody else has the turn")
		release()
		time.Sleep(2 * time.Minute)
		require.Less(t, before, deletes.Load(), "it has its turn")
	})
}

// twoConns has the program's pool have two connections, so that there may be two physical ones.
func twoConns(t *testing.T, db *sql.DB) {
	for range 2 {
		c, err := db.Conn(background)
		require.NoError(t, err)
		defer c.Close()
	}
}

// Nobody waits for a sweep that finds nothing to delete, and it waits for nobody.
func TestASweepThatFindsNothingTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads, deletes atomic.Int32 // statements that were prepared
		_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
			c.RegisterAuthorizer(func(op int, table, column, _ string) int {
				if op == mattn.SQLITE_READ && column == "completed_at" {
					reads.Add(1)
				}
				if op == mattn.SQLITE_DELETE && table == "groupcommit_promises" {
					deletes.Add(1)
				}
				return mattn.SQLITE_OK
			})
			return nil
		}, groupcommit.Promises(), groupcommit.Retention(24*time.Hour))
		db := openDB(t, name, dsnOf(t, impatient), "CREATE TABLE a (n)")
		_, err := db.ExecContext(withID("young"), "INSERT INTO a VALUES (1)")
		require.NoError(t, err)
		twoConns(t, db)
		release := hold(t, db)
		before := reads.Load()
		time.Sleep(time.Hour)
		assert.Less(t, before, reads.Load(), "it reads beside who has the turn")
		release()
		time.Sleep(time.Hour)
		require.Zero(t, deletes.Load())
	})
}

// A transaction that has read may be overtaken after a second; as soon as it has written, nobody overtakes it.
func TestATransactionThatHasReadAndThenWrittenIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
		tx, err := db.Begin()
		require.NoError(t, err)
		require.Equal(t, []string{"0"}, texts(tx, "SELECT count(*) FROM a"))
		exec(t, tx, "INSERT INTO a VALUES (1)")
		p := groupcommit.Go(background, db, "INSERT INTO a VALUES (2)")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Equal(t, durable.Pending, p.State())
		require.NoError(t, tx.Commit())
		_, err = p.Await(background)
		require.NoError(t, err)
	})
}

// What only reads waits for no writer.
func TestAReaderBesideAWriterDoesNotWait(t *testing.T) {
	const known = "SELECT count(*) FROM a"
	for name, read := range map[string]func(t *testing.T, db *sql.DB){
		"Query": func(t *testing.T, db *sql.DB) { texts(db, "SELECT n FROM a") },
		"ReadOnly": func(t *testing.T, db *sql.DB) {
			tx, err := db.BeginTx(background, &sql.TxOptions{ReadOnly: true})
			require.NoError(t, err)
			texts(tx, "SELECT n FROM a")
			require.NoError(t, tx.Rollback())
		},
		"ATransactionThatBeginsAsReadersDo": func(t *testing.T, db *sql.DB) {
			tx, err := db.Begin()
			require.NoError(t, err)
			texts(tx, known)
			texts(tx, "SELECT n FROM a WHERE n > 1") // another text, which is met for the first time
			require.NoError(t, tx.Rollback())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
				for range 3 {
					tx, err := db.Begin()
					require.NoError(t, err)
					texts(tx, known)
					require.NoError(t, tx.Rollback())
				}
				release := hold(t, db)
				defer release()
				began := time.Now()
				read(t, db)
				require.Zero(t, time.Since(began), "by the bubble's clock")
			})
		})
	}
}
