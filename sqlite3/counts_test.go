package sqlite3_test

import (
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// The driver's Exec executes a statement with rows to its first row. SQLite has not counted its changes then, and tells of the
// statement before.
func TestAStatementWithRowsIsToldItsOwnCounts(t *testing.T) {
	type counts struct{ rows, id int64 }
	queries := []string{
		"INSERT INTO a (k) VALUES (1), (2), (3)",
		"INSERT INTO a (k) VALUES (?) RETURNING k",
		"INSERT INTO a (k) VALUES (10), (11) RETURNING k",
		"UPDATE a SET v = ? WHERE k < 3 returning *",
		"UPDATE a SET v = 'y' WHERE k > 99 RETURNING k",
		"DELETE FROM a WHERE k IN (1, 2, 3) RETURNING k",
	}
	args := [][]any{nil, {int64(7)}, nil, {"x"}, nil, nil}
	want := []counts{{3, 3}, {1, 4}, {2, 6}, {2, 0}, {0, 0}, {3, 0}} // the id is an INSERT's only
	schema := "CREATE TABLE a (id INTEGER PRIMARY KEY, k, v)"
	check := func(t *testing.T, i int, rows, id int64) {
		require.Equal(t, want[i].rows, rows, queries[i])
		if want[i].id != 0 {
			require.Equal(t, want[i].id, id, queries[i])
		}
	}
	memory := ":memory:"
	_, counting := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("PRAGMA count_changes = 1", nil)
		return err
	})
	for name, c := range map[string]struct{ driver, dsn string }{
		"":                         {"sqlite3-groupcommit", dsnOf(t, "")},
		"InMemory":                 {"sqlite3-groupcommit", memory},
		"WhereChangesAreRows":      {counting, dsnOf(t, "")},
		"WithTheProgramsFunctions": {booming(), dsnOf(t, "")},
	} {
		t.Run("Alone"+name, func(t *testing.T) {
			db := openDB(t, c.driver, c.dsn, schema)
			for i, q := range queries {
				res := exec(t, db, q, args[i]...)
				rows, err := res.RowsAffected()
				require.NoError(t, err)
				id, err := res.LastInsertId()
				require.NoError(t, err)
				check(t, i, rows, id)
			}
		})
		t.Run("InAGroup"+name, func(t *testing.T) {
			db := openDB(t, c.driver, c.dsn, "DROP TABLE IF EXISTS a", schema)
			release := hold(t, db)
			var done sync.WaitGroup
			for i, q := range queries {
				done.Go(func() {
					res := exec(t, db, q, args[i]...)
					rows, _ := res.RowsAffected()
					id, _ := res.LastInsertId()
					check(t, i, rows, id)
				})
				awaitQueued(t, db, i+1)
			}
			release()
			bounded.Wait(t, "the calls are answered", done.Wait)
		})
	}
}
