// Package sqlite3 is the engine for SQLite through mattn/go-sqlite3. Importing it registers the driver
// "sqlite3-groupcommit", which takes every data source name that "sqlite3" takes, and makes the engine known for
// drivers of your own:
//
//	import _ "github.com/groupcommit/groupcommit/sqlite3"
//
//	db, err := sql.Open("sqlite3-groupcommit", "app.db?_journal=WAL&_synchronous=FULL")
//
// # What a group is
//
// BEGIN IMMEDIATE, the calls, COMMIT. A call that fails leaves of its rows what it would have left by itself: nothing, or with
// OR FAIL those before the error. Its caller gets the error and the others go on. Where SQLite does not undo a
// failed statement of a transaction by itself (a STRICT column's type, an overflow, an error of a function), the group runs
// again with savepoints, and the statement has one for a while in later groups. Where an
// error ends the transaction (RAISE(ROLLBACK), ON CONFLICT ROLLBACK, a full disk), nothing of the group is left, and it runs
// again around the culprit, in the same order. Where COMMIT fails (a deferred foreign key), each call runs alone.
//
// An I/O error of COMMIT may come when the transaction is committed already: with the journal modes TRUNCATE, PERSIST
// and MEMORY, with DELETE and synchronous=EXTRA, and where files are attached. The callers then get a
// [groupcommit.OutcomeUnknownError]; calls with ids find out for themselves. With WAL, and with DELETE below EXTRA, such
// an error says that nothing was committed.
//
// With journal_mode=OFF nothing can be rolled back. There is no group then, which is logged once, and no call can have an id.
//
// A function of the program's that panics, or calls runtime.Goexit, in a group or in an Exec by itself does so in its
// caller's goroutine. The connection is closed, because the panic has left it locked. A database in memory is gone with
// it.
//
// # Who writes
//
// SQLite has one writer at a time. Within the process groups, write transactions, RETURNING queries and schema changes
// of one file take turns, also across several sql.Open of it, so that SQLITE_BUSY between them does not happen. A wait
// for the turn ends with the context, or with SQLITE_BUSY after the busy timeout or 10 seconds, whichever is longer.
//
// A transaction takes the turn when it begins, unless it is read-only (sql.TxOptions.ReadOnly), and keeps it until it
// ends. If it has not written for a second, another writer may go first; it is then what it would be on the plain
// driver, whose first write may find the snapshot stale. One that waited in vain begins without the turn.
//
// Databases in memory, temporary ones and those with cache=shared have exactly one physical connection, which
// everything shares.
//
// # Calls with ids
//
// The record of a call with an id is in the main database. What the call writes to a database that a hook has attached is
// committed with it, but in WAL mode each file by itself: after a crash of the machine one may be there without the other.
package sqlite3

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// DriverName is the name that importing the package registers, unless it is taken.
const DriverName = "sqlite3-groupcommit"

func init() {
	groupcommit.RegisterEngine(func(c driver.Conn) groupcommit.Engine {
		if _, ok := c.(*sqlite3.SQLiteConn); ok {
			return engine{}
		}
		return nil
	})
	sqlx.BindDriver(DriverName, sqlx.QUESTION)
	if !slices.Contains(sql.Drivers(), DriverName) {
		groupcommit.Register(DriverName, &sqlite3.SQLiteDriver{})
	}
}

// engine is groupcommit.Engine for SQLite.
type engine struct{}

// leastWait is how long a caller waits for the writer at the least, however short the busy timeout: it is not
// another process that is waited for, but goroutines of this one that will be done.
const leastWait = 10 * time.Second

func (engine) Open(ctx context.Context, conn driver.Conn, s groupcommit.Settings) (groupcommit.Session, error) {
	if s.Mode != groupcommit.Transaction {
		return nil, fmt.Errorf("groupcommit/sqlite3: option mode: %q is not allowed; on SQLite only transaction is", s.Mode)
	}
	lite, ok := groupcommit.Unwrapped[*sqlite3.SQLiteConn](conn)
	if !ok {
		return nil, fmt.Errorf("groupcommit/sqlite3: the connection is a %T; a *sqlite3.SQLiteConn is needed", conn)
	}
	// Asked of the connection, because the data source name or a hook may have set them.
	busy, err := number(lite, "PRAGMA busy_timeout")
	if err != nil {
		return nil, err
	}
	counts, err := number(lite, "PRAGMA count_changes")
	if err != nil {
		return nil, err
	}
	files, err := first(lite.Query("SELECT name FROM pragma_database_list WHERE name <> 'temp'", nil))
	if err != nil {
		return nil, err
	}
	t := traits(lite.GetFilename("main"), s.DSN, time.Duration(busy)*time.Millisecond)
	session := newSession(conn, lite, t, counts != 0, files)
	if s.Promises && session.unprotected() {
		return nil, errUnprotected("option promises")
	}
	return session, nil
}

// traits says what the database is like. file is what SQLite calls it, "" if it lives in memory or is temporary.
func traits(file, dsn string, busy time.Duration) groupcommit.Traits {
	_, query, _ := strings.Cut(dsn, "?")
	params, _ := url.ParseQuery(query) // the driver has refused what cannot be parsed
	shared := params.Get("cache") == "shared"
	key := file
	if file == "" && shared {
		key = dsn // the name of a database in memory that several connections may share
	}
	return groupcommit.Traits{
		Dialect:     groupcommit.SQLiteSQL,
		OneWriter:   true,
		Ledger:      true,
		WriterKey:   key,
		OneConn:     file == "" || shared,
		BeginWrites: slices.Contains([]string{"immediate", "exclusive"}, strings.ToLower(params.Get("_txlock"))),
		Busy:        sqlite3.Error{Code: sqlite3.ErrBusy, ExtendedCode: sqlite3.ErrNoExtended(sqlite3.ErrBusy)},
		BusyWait:    max(busy, leastWait),
		Check:       groupcommit.DefaultCheck, // the driver has no check of its own
		Begin:       "BEGIN IMMEDIATE",        // a snapshot that another process has overtaken cannot be written to
		Savepoints:  true,
		Final:       rejection,
		Environment: environment,
	}
}

// number returns what a query says that gives one number, such as a setting; 0 where SQLite does not know it.
func number(c *sqlite3.SQLiteConn, query string) (int64, error) {
	rows, err := c.Query(query, nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	if len(row) == 0 {
		return 0, nil
	}
	if err := rows.Next(row); err != nil && err != io.EOF {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}
