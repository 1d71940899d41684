package sqlite3_test

import (
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneThingAtATime does what a program does, each on its own.
func oneThingAtATime(t *testing.T, db *sql.DB) {
	t.Helper()
	require.NoError(t, db.Ping())
	exec(t, db, "CREATE TABLE IF NOT EXISTS a (n)")
	exec(t, db, "INSERT INTO a VALUES (1)")
	require.NotEmpty(t, texts(db, "SELECT n FROM a"))
	st, err := db.Prepare("INSERT INTO a VALUES (?)")
	require.NoError(t, err)
	_, err = st.Exec(2)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	tx, err := db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT INTO a VALUES (3)")
	require.NoError(t, tx.Commit())
	_, err = groupcommit.Go(background, db, "INSERT INTO a VALUES (4)").Await(background)
	require.NoError(t, err)
	var n int
	require.NoError(t, db.QueryRow("INSERT INTO a VALUES (5) RETURNING n").Scan(&n))
	require.Equal(t, []string{"1", "2", "3", "4", "5"}, texts(db, "SELECT n FROM a ORDER BY n"))
}

func TestAProgramThatDoesOneThingAtATimeHasOneConnection(t *testing.T) {
	for _, params := range []string{"", "&groupcommit_promises=on", "&_locking=EXCLUSIVE"} {
		for _, journal := range []string{"WAL", "DELETE"} {
			t.Run(journal+params, func(t *testing.T) {
				var opened atomic.Int64
				_, grouped := hookedDrivers(func(*mattn.SQLiteConn) error { opened.Add(1); return nil })
				dsn := strings.Replace(dsnOf(t, impatient+params), "_journal=WAL", "_journal="+journal, 1)
				db := openDB(t, grouped, dsn)
				oneThingAtATime(t, db)
				assert.Equal(t, int64(1), opened.Load(), "connections")
			})
		}
	}
}

func TestAProgramOfPromisesHasTheConnectionThatItBeganWith(t *testing.T) {
	var opened atomic.Int64
	_, grouped := hookedDrivers(func(*mattn.SQLiteConn) error { opened.Add(1); return nil })
	db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE a (n UNIQUE)")
	for _, query := range []string{"INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (1)", "UPDATE b SET n = 1; -- no such table", "ANALYZE"} {
		groupcommit.Go(background, db, query).Await(background)
	}
	assert.Equal(t, int64(1), opened.Load(), "connections")
}

func TestWhatAHookMakesForItsConnectionIsThere(t *testing.T) {
	plain, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("CREATE TEMP TABLE session (n); ATTACH ':memory:' AS m; CREATE TABLE m.cache (n)", nil)
		return err
	})
	for _, name := range []string{plain, grouped} {
		for _, most := range []int{0, 1} {
			db := openDB(t, name, dsnOf(t, ""))
			db.SetMaxOpenConns(most)
			for _, table := range []string{"session", "m.cache"} {
				exec(t, db, "INSERT INTO "+table+" VALUES (1)")
				require.Equal(t, []string{"1"}, texts(db, "SELECT n FROM "+table), "%s, %s", name, table)
			}
		}
	}
}

// A connection that sets auto_vacuum while it is being opened writes to the file.
func TestAConnectionThatWritesWhileItIsOpenedWaitsForItsTurn(t *testing.T) {
	db := ours(t, dsnOf(t, impatient+"&_auto_vacuum=FULL"), "CREATE TABLE a (n)")
	release := hold(t, db)
	require.NoError(t, waitsFor(t, release, func() error {
		return db.QueryRow("SELECT count(*) FROM a").Scan(new(int))
	}))
}

func TestAnEmptyPreparedTextDoesNothing(t *testing.T) {
	for _, query := range []string{"", " ", ";", "-- nothing"} {
		db := ours(t, dsnOf(t, ""))
		st, err := db.PrepareContext(t.Context(), query)
		require.NoError(t, err)
		_, err = st.ExecContext(t.Context())
		assert.NoError(t, err, "%q", query)
		rows, err := st.QueryContext(t.Context())
		require.NoError(t, err, "%q", query)
		assert.False(t, rows.Next())
		assert.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		require.NoError(t, st.Close())
	}
}
