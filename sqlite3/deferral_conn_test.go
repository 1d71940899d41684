package sqlite3_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

// A query that only has the word synchronous in its text is its transaction's own.
func TestAQueryThatNamesAColumnAsynchronousRunsInItsTransaction(t *testing.T) {
	db, l, _ := durables(t, "")
	exec(t, db, "CREATE TABLE jobs (k INTEGER PRIMARY KEY, asynchronous INT)")
	l.crowd(t, db)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO jobs (asynchronous) VALUES (1)")
	require.NoError(t, err)
	var k int
	require.NoError(t, tx.QueryRow("SELECT k FROM jobs WHERE asynchronous = 1").Scan(&k))
	require.NoError(t, tx.QueryRow("INSERT INTO jobs (asynchronous) VALUES (1) RETURNING k").Scan(&k))
	require.NoError(t, tx.Rollback())
	require.Zero(t, count(t, db, "SELECT count(*) FROM jobs"))
}

// What a sql.Conn has written goes to the log before the rows that it reads are closed. No other transaction gets its connection.
func TestRowsThatAreOpenOnAConnSeeNothingOfAnothersTransaction(t *testing.T) {
	for name, write := range map[string]func(c *sql.Conn) error{
		"behind a transaction": func(c *sql.Conn) error {
			tx, err := c.BeginTx(background, nil)
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO t (v) VALUES (5)"); err != nil {
				return err
			}
			return tx.Commit()
		},
		"behind a statement": func(c *sql.Conn) error {
			_, err := c.ExecContext(background, "INSERT INTO t (v) VALUES (5)")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, l, _ := durables(t, "")
			l.crowd(t, db)
			for range 20 {
				exec(t, db, "INSERT INTO t (v) VALUES (0)")
			}
			conn, err := db.Conn(background)
			require.NoError(t, err)
			defer conn.Close()
			rows, err := conn.QueryContext(background, "SELECT k FROM t ORDER BY k")
			require.NoError(t, err)
			defer rows.Close()
			require.True(t, rows.Next())
			require.NoError(t, write(conn))
			tx, err := db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = tx.Exec("INSERT INTO t (k, v) VALUES (1000, 0)")
			require.NoError(t, err)
			var k int
			for rows.Next() {
				require.NoError(t, rows.Scan(&k))
			}
			require.NoError(t, rows.Err())
			require.Less(t, k, 1000, "a row that is not committed")
		})
	}
}
