package sqlite3_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

// As many connections as callers would each have a page cache that is stale.
func TestTransactionsHaveNoConnectionBeforeTheirFirstStatement(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE t (k INTEGER PRIMARY KEY, v INT)")
	var txs []*sql.Tx
	for range 32 {
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		txs = append(txs, tx)
	}
	stats, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Zero(t, stats.Leased.InUse)
	for i, tx := range txs[:30] {
		exec(t, tx, "INSERT INTO t (v) VALUES (?)", i)
		require.NoError(t, tx.Commit())
	}
	require.NoError(t, txs[30].Commit())
	require.NoError(t, txs[31].Rollback())
	stats, err = groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, 1, stats.Leased.OpenConnections)
	require.Equal(t, 30, count(t, db, "SELECT count(*) FROM t"))
}

func TestTheFirstStatementOfATransactionIsTheTransactions(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE t (k INTEGER PRIMARY KEY, v INT)")
	stmt, err := db.Prepare("INSERT INTO t (v) VALUES (?)")
	require.NoError(t, err)
	defer stmt.Close()
	var k int
	for name, first := range map[string]func(tx *sql.Tx) error{
		"Exec":               func(tx *sql.Tx) error { _, err := tx.Exec("INSERT INTO t (v) VALUES (1)"); return err },
		"Exec with argument": func(tx *sql.Tx) error { _, err := tx.Exec("INSERT INTO t (v) VALUES (?)", 1); return err },
		"RETURNING":          func(tx *sql.Tx) error { return tx.QueryRow("INSERT INTO t (v) VALUES (1) RETURNING k").Scan(&k) },
		"Stmt":               func(tx *sql.Tx) error { _, err := tx.Stmt(stmt).Exec(1); return err },
		"Prepare": func(tx *sql.Tx) error {
			s, err := tx.Prepare("INSERT INTO t (v) VALUES (?)")
			if err == nil {
				_, err = s.Exec(1)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.NoError(t, first(tx))
			require.NoError(t, tx.Rollback())
			require.Zero(t, count(t, db, "SELECT count(*) FROM t"))
		})
	}
}

func TestATransactionThatAsksForTheLevelFirstHearsItsOwn(t *testing.T) {
	for _, ask := range []string{"PRAGMA synchronous", "SELECT synchronous FROM pragma_synchronous"} {
		db, l, dsn := durables(t, "")
		deferred := ours(t, strings.Replace(dsn, "_txlock=immediate", "_txlock=deferred", 1))
		require.Zero(t, count(t, deferred, "SELECT count(*) FROM t"))
		l.crowd(t, db)
		tx, err := deferred.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		require.Equal(t, []string{"2"}, texts(tx, ask))
		exec(t, tx, "INSERT INTO t (v) VALUES (1)")
		require.Equal(t, []string{"2"}, texts(tx, ask))
		require.NoError(t, tx.Rollback())
	}
}

// The second time the text has a statement that is kept.
func TestAnExecInATransactionAnswersAsTheDriversDoesTheSecondTimeToo(t *testing.T) {
	const schema = "CREATE TABLE t (k INTEGER PRIMARY KEY, v UNIQUE, w)"
	answers := func(db *sql.DB) (got []string) {
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		for range 2 {
			for _, args := range [][]any{
				{1, 2}, {1}, {2, 3, 4}, {}, {nil, []byte{}}, {"a", []byte(nil)}, {time.Unix(7, 8), 1.5}, {true, uint8(3)}, {sql.NullInt64{Int64: 5, Valid: true}, 1},
				{sql.Named("x", 1), sql.Named("y", 2)}, {make(chan int), 1}, {uint64(1) << 63, 1},
			} {
				for _, text := range []string{"INSERT INTO t (v, w) VALUES (?, ?)", "INSERT OR IGNORE INTO t (v, w) VALUES (@y, @x)", "UPDATE t SET w = ? WHERE v = ?", "DELETE FROM none WHERE k = ? + ?"} {
					res, err := tx.Exec(text, args...)
					if err != nil {
						got = append(got, fmt.Sprint(text, len(args), ": ", errorText(err)))
						continue
					}
					id, _ := res.LastInsertId()
					n, _ := res.RowsAffected()
					got = append(got, fmt.Sprint(text, ": ", id, n))
				}
			}
		}
		return append(got, texts(tx, "SELECT k || typeof(v) || quote(v) || typeof(w) || quote(w) FROM t ORDER BY k")...)
	}
	want := answers(openDB(t, "sqlite3", dsnOf(t, ""), schema))
	got := answers(ours(t, dsnOf(t, ""), schema))
	require.Equal(t, want, got)
}
