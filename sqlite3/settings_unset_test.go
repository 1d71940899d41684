package sqlite3_test

import (
	"sync/atomic"
	"testing"

	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// A connection that does not take what the program has set is used for nothing: neither for a group nor for a query.
func TestNothingRunsOnAConnectionWithoutTheProgramsSettings(t *testing.T) {
	var deny atomic.Bool
	_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
		c.RegisterAuthorizer(func(op int, pragma, value, _ string) int {
			if op == mattn.SQLITE_PRAGMA && pragma == "cache_size" && value == "77" && deny.Load() {
				return mattn.SQLITE_DENY
			}
			return mattn.SQLITE_OK
		})
		return nil
	})
	db := openDB(t, name, dsnOf(t, ""), "CREATE TABLE a (n)", "PRAGMA cache_size = 77")
	conns := held(t, db, 1) // which have the connection that it was set on
	deny.Store(true)
	_, err := db.Exec("INSERT INTO a VALUES (1)")
	require.ErrorContains(t, err, "not authorized")
	require.ErrorContains(t, db.QueryRow("SELECT count(*) FROM a").Scan(new(int)), "not authorized")
	deny.Store(false)
	exec(t, db, "INSERT INTO a VALUES (2)")
	require.Equal(t, []string{"77"}, texts(db, "PRAGMA cache_size"))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
	closeAll(t, conns)
}
