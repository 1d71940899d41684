package sqlite3_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// Where another program holds SQLite's lock, a group waits for it once: each of its calls by itself would only wait for as long.
func TestAGroupThatFindsTheDatabaseBusyIsNotTriedCallByCall(t *testing.T) {
	for name, c := range map[string]struct{ journal, holds string }{
		"AtItsBeginning": {"WAL", "BEGIN IMMEDIATE"},
		"AtItsCommit":    {"DELETE", "BEGIN; SELECT count(*) FROM a"}, // a reader
	} {
		t.Run(name, func(t *testing.T) {
			_, driverName := hookedDrivers(func(*mattn.SQLiteConn) error { return nil },
				groupcommit.MaxLen(3), groupcommit.MaxDelay(time.Hour)) // so that three calls are a group
			dsn := strings.Replace(dsnOf(t, impatient), "_journal=WAL", "_journal="+c.journal, 1)
			db := openDB(t, driverName, dsn, "CREATE TABLE a (n)")
			other, err := openDB(t, "sqlite3", dsn).Conn(background)
			require.NoError(t, err)
			defer other.Close()
			exec(t, other, c.holds)
			cs := calls("INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3)")
			together := func() {
				var done sync.WaitGroup
				for _, c := range cs {
					done.Go(func() { c.exec(db) })
				}
				done.Wait()
			}
			together()
			for _, c := range cs {
				require.Equal(t, mattn.ErrBusy, code(t, c.err))
			}
			st, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			require.EqualValues(t, 1, st.Groups)
			require.Zero(t, st.Reruns)
			exec(t, other, "ROLLBACK")
			together()
			for _, c := range cs {
				require.NoError(t, c.err)
			}
			require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
		})
	}
}
