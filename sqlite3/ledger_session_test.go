package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestAnIDIsRefusedWhereTheSessionHasBeenChanged(t *testing.T) {
	db, _ := promising(t, "")
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	for _, change := range []string{"CREATE TEMP TABLE a (k, v)", "ATTACH ':memory:' AS other", ""} {
		c, err := db.Conn(background)
		require.NoError(t, err)
		if change == "" {
			require.NoError(t, groupcommit.Raw(background, c, func(driver.Conn) error { return nil }))
		} else {
			exec(t, c, change)
		}
		for _, id := range []string{"x", "y"} {
			_, err = c.ExecContext(withID(id), insertRow, 1, "v")
			require.ErrorContains(t, err, "session has been changed", change)
			require.ErrorContains(t, err, id)
		}
		exec(t, c, "INSERT INTO a (v) VALUES ('without an id')")
		c.Raw(func(any) error { return driver.ErrBadConn }) // closes it
	}
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
}

// PRAGMA count_changes gives every statement that writes a row, those of the ledger too.
func TestWhereChangesAreCountedACallWithAnIDAndThoseAfterItAreCommitted(t *testing.T) {
	counting := func(c *mattn.SQLiteConn) error { _, err := c.Exec("PRAGMA count_changes = 1", nil); return err }
	_, driverName := hookedDrivers(counting, groupcommit.Promises())
	const table = "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)"
	inFile := dsnOf(t, "")
	file := openDB(t, driverName, inFile, table)
	inMemory := fmt.Sprintf("file:counting%d?mode=memory&cache=shared", driverNames.Add(1))
	memory := openDB(t, driverName, inMemory, table)
	for name, c := range map[string]struct {
		db   *sql.DB
		look *sql.DB // as another program
	}{
		"in a file": {file, openDB(t, "sqlite3", inFile)},
		"in memory": {memory, openDB(t, "sqlite3", inMemory)},
	} {
		t.Run(name, func(t *testing.T) {
			for k := range 3 {
				exec(t, c.db, insertRow, k, "v")
			}
			_, err := c.db.ExecContext(withID("three rows"), "UPDATE a SET v = ?", "w")
			require.NoError(t, err)
			_, err = c.db.ExecContext(withID("no row"), "UPDATE a SET v = ? WHERE k = 99", "w")
			require.NoError(t, err)
			release := hold(t, c.db)
			var ps []*groupcommit.Promise
			for k := 3; k < 8; k++ {
				ps = append(ps, groupcommit.Go(withID(fmt.Sprint(k)), c.db, insertRow, k, "v"))
			}
			awaitQueued(t, c.db, len(ps))
			release()
			for _, p := range ps {
				_, err := p.Await(background)
				require.NoError(t, err)
			}
			for k := 8; k < 10; k++ {
				exec(t, c.db, insertRow, k, "v")
			}
			require.Equal(t, 10, count(t, c.look, "SELECT count(*) FROM a"))
			require.Equal(t, 7, count(t, c.look, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
		})
	}
}

func TestAConnectionThatCannotRollBackIsNotUsedAgain(t *testing.T) {
	var deny atomic.Bool
	hook := func(c *mattn.SQLiteConn) error {
		c.RegisterAuthorizer(func(op int, what, _, _ string) int {
			if op == mattn.SQLITE_TRANSACTION && what == "ROLLBACK" && deny.CompareAndSwap(true, false) {
				return mattn.SQLITE_DENY
			}
			return mattn.SQLITE_OK
		})
		return nil
	}
	_, driverName := hookedDrivers(hook, groupcommit.Promises())
	dsn := dsnOf(t, "")
	db := openDB(t, driverName, dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	require.NoError(t, db.Ping())
	look := openDB(t, "sqlite3", dsn)
	for k, ask := range []func(string) error{
		func(id string) error {
			_, err := db.ExecContext(withID(id), "INSERT INTO missing VALUES (1)")
			return err
		},
		func(id string) error {
			_, err := groupcommit.Go(withID(id), db, "INSERT INTO missing VALUES (1)").Await(background)
			return err
		},
	} {
		deny.Store(true)
		require.ErrorContains(t, ask(fmt.Sprint(k)), "no such table")
		require.False(t, deny.Load(), "nothing was rolled back")
		exec(t, db, insertRow, k, "v")
		require.Equal(t, k+1, count(t, look, "SELECT count(*) FROM a"), "it is acknowledged and not committed")
	}
}
