package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// held takes n connections of db at once, each with its physical one.
func held(t *testing.T, db *sql.DB, n int) []*sql.Conn {
	t.Helper()
	conns := make([]*sql.Conn, n)
	for i := range conns {
		c, err := db.Conn(background)
		require.NoError(t, err)
		require.NoError(t, c.PingContext(background))
		conns[i] = c
	}
	return conns
}

func closeAll(t *testing.T, conns []*sql.Conn) {
	t.Helper()
	for _, c := range conns {
		require.NoError(t, c.Close())
	}
}

// everywhere is what a setting is on each of some physical connections.
func everywhere(t *testing.T, db *sql.DB, pragma string) (values []string) {
	t.Helper()
	conns := held(t, db, 5)
	defer closeAll(t, conns)
	for _, c := range conns {
		values = append(values, texts(c, pragma)...)
	}
	return values
}

func times(n int, s string) (all []string) {
	for range n {
		all = append(all, s)
	}
	return all
}

func TestASettingMadeThroughThePoolHoldsForEveryConnection(t *testing.T) {
	for _, c := range []struct {
		set         string
		ask, answer string
	}{
		{"PRAGMA foreign_keys = ON", "PRAGMA foreign_keys", "1"},
		{"PRAGMA synchronous=FULL;", "PRAGMA synchronous", "2"},
		{"pragma main.cache_size(77)", "PRAGMA cache_size", "77"},
		{"PRAGMA busy_timeout = 1234", "PRAGMA busy_timeout", "1234"},
		{"PRAGMA temp_store = MEMORY; PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers", "1"},
		{"PRAGMA foreign_keys = ON; CREATE TABLE IF NOT EXISTS made (n)", "PRAGMA foreign_keys", "1"},
	} {
		for name, do := range map[string]func(*sql.DB) error{
			"Exec": func(db *sql.DB) error { _, err := db.Exec(c.set); return err },
			"Query": func(db *sql.DB) error {
				rows, err := db.Query(c.set)
				if err == nil {
					err = rows.Close()
				}
				return err
			},
		} {
			t.Run(name+" "+c.set, func(t *testing.T) {
				db := ours(t, dsnOf(t, "&_sync=OFF"))
				db.SetMaxIdleConns(10)
				closeAll(t, held(t, db, 3)) // some are there before, others come later
				require.NoError(t, do(db))
				assert.Equal(t, times(5, c.answer), everywhere(t, db, c.ask))
			})
		}
	}
}

func TestTheLatestSettingHolds(t *testing.T) {
	db := ours(t, dsnOf(t, ""))
	db.SetMaxIdleConns(10)
	early := held(t, db, 2)
	for _, v := range []string{"ON", "OFF", "ON", "OFF", "ON"} {
		exec(t, db, "PRAGMA foreign_keys = "+v)
	}
	closeAll(t, early)
	assert.Equal(t, times(5, "1"), everywhere(t, db, "PRAGMA foreign_keys"))
}

func TestNoOrphanComesThroughOneOfManyConnections(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "PRAGMA foreign_keys=ON", "CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (p INTEGER REFERENCES p (id))")
	db.SetMaxIdleConns(32)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 5 {
				_, err := db.Exec("INSERT INTO c VALUES (4711)")
				assert.Equal(t, mattn.ErrConstraint, code(t, err))
				tx, err := db.Begin()
				if assert.NoError(t, err) {
					_, err = tx.Exec("INSERT INTO c VALUES (4711)")
					assert.Equal(t, mattn.ErrConstraint, code(t, err))
					assert.NoError(t, tx.Rollback())
				}
			}
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
	require.Equal(t, []string{"0"}, texts(db, "SELECT count(*) FROM c"))
}

func TestASettingOnASqlConnIsThatSqlConns(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (p INTEGER REFERENCES p (id))", "PRAGMA foreign_keys=ON")
	db.SetMaxIdleConns(10)
	c, err := db.Conn(background)
	require.NoError(t, err)
	exec(t, c, "PRAGMA foreign_keys = OFF")
	assert.Equal(t, times(5, "1"), everywhere(t, db, "PRAGMA foreign_keys"))
	exec(t, c, "INSERT INTO c VALUES (1)")
	require.NoError(t, c.Close())
	rest := held(t, db, 5)
	defer closeAll(t, rest)
	var off int
	for _, c := range rest {
		if texts(c, "PRAGMA foreign_keys")[0] == "0" {
			off++
		}
	}
	assert.Equal(t, 1, off, "it stays with its connection, as on the plain driver")
}

func TestASettingInATransactionIsItsConnections(t *testing.T) {
	db := ours(t, dsnOf(t, ""))
	db.SetMaxIdleConns(10)
	tx, err := db.Begin()
	require.NoError(t, err)
	exec(t, tx, "PRAGMA cache_size = 77")
	assert.NotContains(t, everywhere(t, db, "PRAGMA cache_size"), "77")
	require.NoError(t, tx.Commit())
}

func TestAConnWithATemporaryTableGetsTheSettingsToo(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TEMP TABLE mine (n)")
	c, err := db.Conn(background)
	require.NoError(t, err)
	require.Empty(t, texts(c, "SELECT n FROM mine"))
	exec(t, db, "PRAGMA foreign_keys = ON")
	require.NoError(t, c.Close())
	values := everywhere(t, db, "PRAGMA foreign_keys")
	assert.Equal(t, times(5, "1"), values)
}

// A caller waits for the writer no longer than the program says.
func TestTheProgramsBusyTimeoutIsTheLongestThatACallerWaits(t *testing.T) {
	_, hooked := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("PRAGMA busy_timeout = 20", nil)
		return err
	})
	for name, open := range map[string]func(t *testing.T) *sql.DB{
		"by name":   func(t *testing.T) *sql.DB { return openDB(t, "sqlite3-groupcommit", dsnOf(t, "&_busy_timeout=20")) },
		"by alias":  func(t *testing.T) *sql.DB { return openDB(t, "sqlite3-groupcommit", dsnOf(t, "&_timeout=20")) },
		"by PRAGMA": func(t *testing.T) *sql.DB { return ours(t, dsnOf(t, ""), "PRAGMA busy_timeout = 20") },
		"by hook":   func(t *testing.T) *sql.DB { return openDB(t, hooked, dsnOf(t, "")) },
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			exec(t, db, "CREATE TABLE a (n)")
			release := hold(t, db)
			defer release()
			ctx, cancel := context.WithTimeout(background, 8*time.Second) // what waits longer gets another error
			defer cancel()
			_, err := db.ExecContext(ctx, "INSERT INTO a VALUES (1)")
			assert.Equal(t, mattn.ErrBusy, code(t, err), "Exec")
			_, err = groupcommit.Go(ctx, db, "INSERT INTO a VALUES (1)").Await(background)
			assert.Equal(t, mattn.ErrBusy, code(t, err), "Go")
			err = db.QueryRowContext(ctx, "INSERT INTO a VALUES (1) RETURNING n").Scan(new(int))
			assert.Equal(t, mattn.ErrBusy, code(t, err), "RETURNING")
		})
	}
}

// It is the statement's end that ends the turn, and not that somebody closes the rows.
func TestRowsThatNobodyClosesKeepNobodyFromWriting(t *testing.T) {
	for _, dsn := range []string{dsnOf(t, impatient), "file:unclosed?mode=memory&cache=shared" + impatient} {
		for _, leak := range []string{"INSERT INTO a VALUES (1)", "UPDATE a SET n = n", "DELETE FROM a", "CREATE TABLE IF NOT EXISTS b (n)", "ANALYZE",
			"PRAGMA foreign_keys = ON", "PRAGMA incremental_vacuum(3)"} {
			t.Run(leak, func(t *testing.T) {
				db := ours(t, dsn, "CREATE TABLE IF NOT EXISTS a (n)", "INSERT INTO a VALUES (0)")
				rows, err := db.Query(leak)
				require.NoError(t, err)
				defer rows.Close()
				for i := range 3 {
					exec(t, db, fmt.Sprintf("INSERT INTO a VALUES (%d)", i+10))
				}
				st, err := db.Prepare(leak)
				require.NoError(t, err)
				defer st.Close()
				again, err := st.Query()
				require.NoError(t, err)
				defer again.Close()
				exec(t, db, "INSERT INTO a VALUES (20)")
				require.False(t, again.Next())
				require.NoError(t, again.Err())
			})
		}
	}
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	for _, leak := range []string{"PRAGMA journal_mode = WAL", "PRAGMA user_version", "PRAGMA wal_checkpoint", "PRAGMA optimize", "SELECT 1"} {
		rows, err := db.Query(leak)
		require.NoError(t, err)
		defer rows.Close()
		exec(t, db, "INSERT INTO a VALUES (1)")
	}
}

func TestATransactionThatOnlyReadsQueuesForNobody(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	const query = "SELECT count(*) FROM a"
	read := func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := tx.QueryRowContext(ctx, query).Scan(new(int)); err != nil {
			return err
		}
		return tx.Commit()
	}
	for range 2 { // from then on it is known for a reader
		require.NoError(t, read(background))
	}
	ctx, cancel := context.WithCancel(background)
	release := hold(t, db)
	defer release()
	write := groupcommit.Go(ctx, db, "INSERT INTO a VALUES (1)")
	defer write.Await(background)
	defer cancel()
	limited, stop := context.WithTimeout(background, 900*time.Millisecond) // a turn that is waited for in vain takes a second
	defer stop()
	require.NoError(t, read(limited))
}

// One that reads and then writes has the turn from its first read on, so that nobody makes its snapshot stale.
func TestATransactionThatReadsAndThenWritesIsNotOvertakenInBetween(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)", "INSERT INTO a VALUES (0)")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 10 {
				addByTxThatReads(t, db)
			}
		})
		all.Go(func() {
			for range 10 {
				_, err := db.Exec("INSERT INTO a VALUES (-1)")
				assert.NoError(t, err)
			}
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
	require.Equal(t, []string{"160"}, texts(db, "SELECT n FROM a WHERE n >= 0"))
}

func addByTxThatReads(t *testing.T, db *sql.DB) {
	tx, err := db.Begin()
	if !assert.NoError(t, err) {
		return
	}
	defer tx.Rollback()
	var n int
	assert.NoError(t, tx.QueryRow("SELECT n FROM a WHERE n >= 0").Scan(&n))
	_, err = tx.Exec("UPDATE a SET n = ? WHERE n >= 0", n+1)
	assert.NoError(t, err)
	assert.NoError(t, tx.Commit())
}

// A text that was a reader's and then writes gets what the plain driver gives: its snapshot may be stale. After that it is known.
func TestAReadersFirstWriteIsThePlainDrivers(t *testing.T) {
	for _, name := range []string{"sqlite3", impatientDriver} {
		db := openDB(t, name, dsnOf(t, impatient), "CREATE TABLE a (n)")
		begin := func() *sql.Tx {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.Len(t, texts(tx, "SELECT count(*) FROM a"), 1)
			return tx
		}
		for range 2 {
			require.NoError(t, begin().Commit())
		}
		tx := begin()
		exec(t, db, "INSERT INTO a VALUES (1)")
		_, err := tx.Exec("INSERT INTO a VALUES (2)")
		require.Equal(t, mattn.ErrBusy, code(t, err), name)
		require.NoError(t, tx.Rollback())
		tx = begin()
		exec(t, tx, "INSERT INTO a VALUES (3)")
		require.NoError(t, tx.Commit())
		require.Equal(t, []string{"1", "3"}, texts(db, "SELECT n FROM a ORDER BY n"), name)
	}
}

func TestATransactionWhoseFirstWriteHasWaitedInVainMayWaitAgain(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	release := hold(t, db)
	ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	_, err = tx.ExecContext(ctx, "INSERT INTO a VALUES (1)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, waitsFor(t, release, func() error {
		_, err := tx.Exec("INSERT INTO a VALUES (2)")
		return err
	}))
	require.NoError(t, tx.Commit())
	require.Equal(t, []string{"2"}, texts(db, "SELECT n FROM a"))
}
