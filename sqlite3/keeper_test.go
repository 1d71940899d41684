package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
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
