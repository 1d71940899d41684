package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A connection whose session was changed keeps its physical one. A promise has no connection of its own.
func TestAPromiseUsesTheConnectionThatAPoolOfOneKeeps(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *sql.DB){
		"temporary table": func(t *testing.T, db *sql.DB) { exec(t, db, "CREATE TEMP TABLE own (n)") },
		"attached":        func(t *testing.T, db *sql.DB) { exec(t, db, "ATTACH ':memory:' AS other; CREATE TABLE other.own (n)") },
		"Raw": func(t *testing.T, db *sql.DB) {
			c, err := db.Conn(background)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, groupcommit.Raw(background, c, func(driver.Conn) error { return nil }))
			exec(t, c, "CREATE TEMP TABLE own (n)")
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := ours(t, dsnOf(t, ""), "CREATE TABLE a (n)")
			db.SetMaxOpenConns(1)
			change(t, db)
			st, err := db.Prepare("INSERT INTO a VALUES (?)")
			require.NoError(t, err)
			defer st.Close()
			_, err = st.Exec(0)
			require.NoError(t, err)
			var ps []*groupcommit.Promise
			for i := range 20 {
				ps = append(ps, groupcommit.Go(background, db, []string{"INSERT INTO a VALUES (?)", "INSERT INTO own VALUES (?)"}[i%2], i))
			}
			for _, p := range ps {
				_, err := p.Await(unhurried(t))
				require.NoError(t, err)
			}
			_, err = st.Exec(1)
			require.NoError(t, err)
			var n int
			require.NoError(t, db.QueryRow("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM own)").Scan(&n))
			require.Equal(t, 22, n)
			require.Equal(t, 1, physicalsOf(t, db))
		})
	}
}

// Less physical connections than pooled ones: each of these would keep one for life.
func TestConnectionsThatKeepTheirPhysicalOnesLeaveSomeToOthers(t *testing.T) {
	for _, n := range []int{1, 2} {
		db := ours(t, dsnOf(t, fmt.Sprintf("&groupcommit_physical=%d", n)), "CREATE TABLE a (n)")
		db.SetMaxIdleConns(10)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				for range 5 {
					_, err := db.ExecContext(unhurried(t), "CREATE TEMP TABLE IF NOT EXISTS own (n)")
					assert.NoError(t, err)
					_, err = db.ExecContext(unhurried(t), "INSERT INTO a VALUES (?)", i)
					assert.NoError(t, err)
					rows, err := db.QueryContext(unhurried(t), "SELECT n FROM a")
					if assert.NoError(t, err) {
						assert.NoError(t, rows.Close())
					}
				}
			})
		}
		bounded.Wait(t, "all are served", all.Wait)
		assert.LessOrEqual(t, physicalsOf(t, db), n)
		assert.Zero(t, db.Stats().InUse)
	}
}

func TestAPromiseDoesNotWaitForAConnectionThatIsKeptForLife(t *testing.T) {
	db := ours(t, dsnOf(t, "&groupcommit_physical=1"), "CREATE TABLE a (n)", "CREATE TEMP TABLE own (n)")
	_, err := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)").Await(unhurried(t))
	require.NoError(t, err)
	require.Equal(t, 1, physicalsOf(t, db))
}

// What a program holds is not taken away.
func TestASessionOfASQLConnIsKeptHoweverManyWait(t *testing.T) {
	db := ours(t, dsnOf(t, "&groupcommit_physical=1"), "CREATE TABLE a (n)")
	c, err := db.Conn(background)
	require.NoError(t, err)
	exec(t, c, "CREATE TEMP TABLE own (n)")
	waiting := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(unhurried(t), "INSERT INTO a VALUES (1)")
		waiting <- err
	}()
	bounded.Until(t, "a call waits", func() bool {
		st, err := groupcommit.StatsOf(db)
		return err == nil && st.Leased.WaitCount > 0
	})
	exec(t, c, "INSERT INTO own VALUES (1)")
	require.NoError(t, c.Close())
	require.NoError(t, <-waiting)
}

// The program must get its connection back to end its transaction.
func TestAPromiseWaitsForATransactionThatWasBegunByText(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE a (n)")
	db.SetMaxOpenConns(1)
	exec(t, db, "BEGIN")
	p := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)")
	bounded.Until(t, "the promise waits", func() bool {
		st, err := groupcommit.StatsOf(db)
		return err == nil && st.Leased.WaitCount > 0
	})
	for range 3 {
		time.Sleep(10 * time.Millisecond) // the promise has the connection in between
		_, err := db.ExecContext(unhurried(t), "INSERT INTO a VALUES (2)")
		require.NoError(t, err)
	}
	_, err := db.ExecContext(unhurried(t), "ROLLBACK")
	require.NoError(t, err)
	_, err = p.Await(unhurried(t))
	require.NoError(t, err)
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM a").Scan(&n))
	require.Equal(t, 1, n)
}
