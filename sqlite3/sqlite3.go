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
// [engine.OutcomeUnknownError]; calls with ids find out for themselves. With WAL, and with DELETE below EXTRA, such
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
// for the turn ends with the context, or with SQLITE_BUSY: after the busy timeout, if the program has set one, by the data
// source name, a PRAGMA or a hook; otherwise after 10 seconds.
//
// A transaction takes the turn with its first write, and keeps it until it ends. One that only reads needs no turn, and
// waits for nobody. One that reads and then writes needs it from its first read on, or its snapshot may be stale when it
// writes, and SQLite answers SQLITE_BUSY, as on the plain driver. So which transactions will write is learned, by the text of
// their first statement. A text that is not known to begin readers has the turn, but tentatively: if its transaction has not
// written for a second, another writer may go first. Two transactions in a row that began with a text and did not write make
// it a reader's, 16 such texts in a row all new texts, and one that writes takes that back. So it is the first write behind
// a text that had only read before which may find its snapshot stale. A transaction declared read-only
// (sql.TxOptions.ReadOnly) never takes a turn.
//
// # Settings
//
// A PRAGMA that sets something for its connection, such as foreign_keys or synchronous, holds for every physical
// connection of the sql.DB from then on if it is executed by the sql.DB's own methods: those that are idle get it before
// they are used again. One that is executed on a sql.Conn is that sql.Conn's, unless it was all that the sql.Conn was used for;
// one in a transaction, or of a database that is attached by ATTACH, is the connection's that it is executed on.
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

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit"
	"github.com/mattn/go-sqlite3"
)

// DriverName is the name that importing the package registers, unless it is taken.
const DriverName = "sqlite3-groupcommit"

func init() {
	engine.Register(func(c driver.Conn) engine.Engine {
		if _, ok := c.(*sqlite3.SQLiteConn); ok {
			return adapter{}
		}
		return nil
	})
	if !slices.Contains(sql.Drivers(), DriverName) {
		groupcommit.Register(DriverName, &sqlite3.SQLiteDriver{})
	}
}

// adapter is the engine for SQLite.
type adapter struct{}

// A caller who waits for the writer waits for goroutines of this program, which will be done. So without a busy timeout of
// the program's own it waits for longer than the driver's default, which is made for other processes.
const (
	patience      = 10 * time.Second
	defaultByName = 5 * time.Second // what the driver sets where the data source name says nothing
)

func (adapter) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	if s.Mode == engine.Autocommit {
		return nil, fmt.Errorf("groupcommit/sqlite3: option %s: %q is not allowed; on SQLite only transaction is", s.Spelled("Mode"), s.Mode)
	}
	lite, ok := engine.Unwrapped[*sqlite3.SQLiteConn](conn)
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
func traits(file, dsn string, busy time.Duration) engine.Traits {
	_, query, _ := strings.Cut(dsn, "?")
	params, _ := url.ParseQuery(query) // the driver has refused what cannot be parsed
	shared := params.Get("cache") == "shared"
	key := file
	if file == "" && shared {
		key = dsn // the name of a database in memory that several connections may share
	}
	return engine.Traits{
		Dialect:     engine.SQLiteSQL,
		OneWriter:   true,
		Ledger:      true,
		WriterKey:   key,
		OneConn:     file == "" || shared,
		BeginWrites: slices.Contains([]string{"immediate", "exclusive"}, strings.ToLower(params.Get("_txlock"))),
		Busy:        sqlite3.Error{Code: sqlite3.ErrBusy, ExtendedCode: sqlite3.ErrNoExtended(sqlite3.ErrBusy)},
		BusyWait:    busyWait(busy, params.Has("_busy_timeout") || params.Has("_timeout")),
		Check:       engine.DefaultCheck, // the driver has no check of its own
		OpenWrites:  params.Has("_auto_vacuum") || params.Has("_vacuum"),
		Begin:       "BEGIN IMMEDIATE", // a snapshot that another process has overtaken cannot be written to
		Savepoints:  true,
		Final:       rejection,
		Environment: environment,
	}
}

// busyWait is how long a caller waits for the writer. chosen says that the program has set the busy timeout.
func busyWait(busy time.Duration, chosen bool) time.Duration {
	if chosen || busy != defaultByName {
		return busy
	}
	return patience
}

// Refresh makes a session a engine.Refresher: PRAGMA busy_timeout.
func (s *session) Refresh(t engine.Traits, setting string) engine.Traits {
	if strings.TrimPrefix(setting, "main.") == "busy_timeout" {
		if ms, err := number(s.lite, "PRAGMA busy_timeout"); err == nil {
			t.BusyWait = time.Duration(ms) * time.Millisecond
		}
	}
	return t
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
