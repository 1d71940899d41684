//go:build cgo

package sqlite3

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/mattn/go-sqlite3"
)

func init() {
	engine.Register(func(c driver.Conn) engine.Engine {
		if _, ok := c.(*sqlite3.SQLiteConn); ok {
			return adapter{}
		}
		return nil
	})
}

// adapter is the engine for SQLite.
type adapter struct{}

// A caller that waits for the writer waits for goroutines of this program, which will be done. So if the program has set no
// busy timeout, the caller waits for longer than the driver's default, which is made for other processes.
const (
	patience      = 10 * time.Second
	defaultByName = 5 * time.Second // the driver's, where the data source name says nothing
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
	files, err := firstColumn(lite.Query("SELECT name FROM pragma_database_list WHERE name <> 'temp'", nil))
	if err != nil {
		return nil, err
	}
	t := traits(lite.GetFilename("main"), s.DSN, time.Duration(busy)*time.Millisecond)
	if _, ok := conn.(driver.NamedValueChecker); ok { // a wrapper's, which each connection asks for itself
		t.Check = func(*driver.NamedValue) error { return nil }
	}
	t.BeginsLate = conn == driver.Conn(lite) && !t.BeginWrites && !t.OneConn
	session := newSession(conn, lite, t, counts != 0, files)
	session.deferral = newDeferral(lite.GetFilename("main"), parameters(s.DSN), s.Sync)
	if session.wal != nil {
		// By name: the library uses them when this connection has long been closed.
		file := session.wal.file
		session.traits.Durable = func() error { return durableAt(file) }
		session.traits.Seen = func() error { return seenAt(file) }
	}
	if s.Promises && session.unprotected() {
		return nil, errUnprotected("option promises")
	}
	return session, nil
}

// traits describes the database. file is SQLite's name for it, "" if it lives in memory or is temporary.
func traits(file, dsn string, busy time.Duration) engine.Traits {
	params := parameters(dsn)
	shared := params.Get("cache") == "shared"
	key := file
	if file == "" && shared {
		key = dsn // the name of a database in memory that several connections may share
	}
	return engine.Traits{
		Dialect:     engine.SQLiteSQL,
		OneWriter:   true,
		Ledger:      true,
		Rows:        true,
		RowsWithID:  true,
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
		Class:       class,
	}
}

func parameters(dsn string) url.Values {
	_, query, _ := strings.Cut(dsn, "?")
	params, _ := url.ParseQuery(query) // the driver has refused a query that cannot be parsed
	return params
}

// busyWait is how long a caller waits for the writer. chosen says that the program has set the busy timeout.
func busyWait(busy time.Duration, chosen bool) time.Duration {
	if chosen || busy != defaultByName {
		return busy
	}
	return patience
}

// Refresh makes a session an engine.Refresher: PRAGMA busy_timeout.
func (s *session) Refresh(t engine.Traits, setting string) engine.Traits {
	if strings.TrimPrefix(setting, "main.") == "busy_timeout" {
		if ms, err := number(s.lite, "PRAGMA busy_timeout"); err == nil {
			t.BusyWait = time.Duration(ms) * time.Millisecond
		}
	}
	return t
}
