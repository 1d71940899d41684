package sqlite3_test

import (
	"database/sql"
	"testing"

	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestAHookThatPanicsLeavesTheWritersTurn(t *testing.T) {
	for name, write := range map[string]func(*sql.DB){
		"exec":    func(db *sql.DB) { db.Exec("CREATE TABLE b (n)") },
		"prepare": func(db *sql.DB) { db.Prepare("CREATE TABLE b (n)") },
		"query":   func(db *sql.DB) { db.Query("INSERT INTO a VALUES (1) RETURNING n") },
		"group":   func(db *sql.DB) { db.Exec("INSERT INTO a VALUES (1)") },
		"begin":   func(db *sql.DB) { db.Begin() },
	} {
		t.Run(name, func(t *testing.T) {
			bad := false
			_, grouped := hookedDrivers(func(*mattn.SQLiteConn) error {
				if bad {
					panic("in a hook")
				}
				return nil
			})
			db := openDB(t, grouped, dsnOf(t, impatient+"&_txlock=immediate"), "CREATE TABLE a (n)")
			conns := held(t, db, 1)
			bad = true
			require.PanicsWithValue(t, "in a hook", func() { write(db) })
			bad = false
			closeAll(t, conns)
			exec(t, db, "INSERT INTO a VALUES (2)")
		})
	}
}
