// Command nocgo opens a database by the swapped driver and by the plain one, and prints their errors. It is built without cgo.
package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/sqlite3"
)

func main() {
	db, err := sql.Open(sqlite3.DriverName, "app.db?groupcommit_maxlen=10")
	report(db, err)
	db, err = groupcommit.Open("sqlite3", "app.db")
	report(db, err)
	db, err = sql.Open("sqlite3", "app.db")
	report(db, err)
}

func report(db *sql.DB, err error) {
	if err == nil {
		defer db.Close()
		_, err = db.ExecContext(context.Background(), "CREATE TABLE t (a)")
	}
	fmt.Println(err)
}
