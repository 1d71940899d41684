// Package libraries has an example for each of some libraries: how it gets the swapped driver, and that nothing else changes. It is a
// module of its own, so that programs that use groupcommit do not get these libraries.
//
//	go test ./examples/libraries -v
//
// The databases of the examples are SQLite files. For PostgreSQL the name is pgx-groupcommit, of package pgx: the tests beside them
// have it. The recipes of docs/with.md are their code.
package libraries_test

import (
	"database/sql"
	"log"
	"os"
	"path/filepath"

	_ "github.com/groupcommit/groupcommit/sqlite3" // registers sqlite3-groupcommit
	"golang.org/x/sync/errgroup"
)

const goroutines = 32

// newDSN is that of a new file. An existing program has its own; what groupcommit needs of it is WAL.
func newDSN() (dsn string, remove func()) {
	folder, err := os.MkdirTemp("", "libraries")
	must(err)
	return "file:" + filepath.Join(folder, "app.db") + "?_journal=WAL&_sync=FULL&_txlock=immediate", func() { must(os.RemoveAll(folder)) }
}

// open opens a new file for the libraries that take a *sql.DB.
func open() (db *sql.DB, done func()) {
	dsn, remove := newDSN()
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	must(err)
	return db, func() {
		must(db.Close())
		remove()
	}
}

// each does something from many goroutines.
func each(do func(i int) error) {
	var all errgroup.Group
	for i := range goroutines {
		all.Go(func() error { return do(i) })
	}
	must(all.Wait())
}

func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}
