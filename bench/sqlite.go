package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit"
	gcsqlite3 "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/mattn/go-sqlite3"
)

const sqliteDriver = "sqlite3"

// SQLite's sides.
var (
	plain = side{
		driver: sqliteDriver,
		conns:  1,
		pool:   "1 connection: SQLite has one writer, and more of them would only wait for its lock",
		via:    viaExec,
		open:   openPlain,
		count:  oneEach,
	}.making(execCalls)
	grouped = side{
		driver: gcsqlite3.DriverName,
		batch:  true,
		pool:   virtual,
		via:    viaExec,
		open:   openGrouped,
		count:  byStats,
	}.making(execCalls)
	handled = side{
		driver: gcsqlite3.DriverName,
		batch:  true,
		pool:   inBatches,
		via:    viaCommands,
		api:    commands,
		open:   openGrouped,
		count:  byHandler,
	}.titled(viaCommands)
	promised = side{
		driver: gcsqlite3.DriverName,
		batch:  true,
		alone:  true,
		via:    viaCommands,
		api:    promises(1024),
		open:   openGrouped,
		count:  byHandler,
	}
	byHand = side{
		driver: sqliteDriver,
		batch:  true,
		alone:  true,
		conns:  1,
		via:    viaHand,
		api:    loop,
		open:   openPlain,
		count:  byItself,
	}
)

func openPlain(file string, r *run) (*sql.DB, error) {
	db, err := sql.Open(sqliteDriver, sqliteDSN(file, r))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// sqlitePlain is the plain driver with a pool of so many connections. Several take the lock where they begin a transaction, and wait
// for it: else some would fail.
func sqlitePlain(conns int) side {
	s := plain
	if s.conns = conns; conns > 1 {
		s.pool = fmt.Sprintf("%d connections", conns)
		s.open = func(file string, r *run) (*sql.DB, error) {
			db, err := sql.Open(sqliteDriver, sqliteDSN(file, r)+"&_txlock=immediate&_busy_timeout=60000")
			if err != nil {
				return nil, err
			}
			db.SetMaxOpenConns(conns)
			db.SetMaxIdleConns(conns)
			return db, nil
		}
	}
	return s
}

func openGrouped(file string, r *run) (*sql.DB, error) {
	name := gcsqlite3.DriverName
	if r.lines != nil {
		name = tuned(name, &sqlite3.SQLiteDriver{}, groupcommit.OnGroup(r.lines.group))
	}
	return openVirtual(name, sqliteDSN(file, r), r)
}

// sqliteDSN is the same for all sides, but for groupcommit's own options.
func sqliteDSN(file string, r *run) string {
	q := url.Values{"_journal_mode": {"WAL"}, "_synchronous": {strings.ToUpper(r.synchronous)}}
	if r.maxLen > 0 && r.driver == gcsqlite3.DriverName {
		q.Set("groupcommit_maxlen", strconv.Itoa(r.maxLen))
	}
	if r.ids != noIDs && r.driver == gcsqlite3.DriverName {
		q.Set("groupcommit_promises", "on")
	}
	if r.failure != nil {
		q.Set("_foreign_keys", "on")
	}
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()
}

// loop is a fast program, written by hand: one goroutine that has all the values already, one prepared INSERT, many rows a
// transaction.
func loop(ctx context.Context, db *sql.DB, w *work) error {
	return w.inPieces(ctx, func(first, n int) error {
		return w.oneTransaction(db, func(yield func(n int) bool) {
			for v := first; v < first+n && yield(v); v++ {
			}
		})
	})
}

// oneTransaction makes calls by one prepared statement.
func (w *work) oneTransaction(db *sql.DB, calls iter.Seq[int]) error {
	return inTx(db, func(tx *sql.Tx) error {
		stmt, err := tx.Prepare(w.insert)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for n := range calls {
			if err := w.byStatement(stmt, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeSQLite removes a database with what stands beside it.
func removeSQLite(name string) (err error) {
	for _, more := range []string{"", "-wal", "-shm", "-journal"} {
		if e := os.Remove(name + more); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// dir is the place for SQLite: a temporary folder, with a new file right in it for every run: a made disk has the files of one
// folder.
type dir string

func newFolder() (place, error) {
	d, err := os.MkdirTemp("", "groupcommit-bench-")
	return dir(d), err
}

func (d dir) where() (label, s string) { return "folder", folder(string(d)) }
func (d dir) disk() string             { return string(d) }
func (d dir) processes() *processes    { return nil }
func (d dir) close() error             { return os.RemoveAll(string(d)) }

func (d dir) sides(api string) []side {
	if api == viaCommands {
		return []side{plain, grouped.titled("Exec"), handled}
	}
	return []side{plain, grouped}
}

func (d dir) settings(c config) string {
	s := "journal_mode=WAL, synchronous=" + strings.ToUpper(c.synchronous) + " on all sides"
	if c.synchronous == "full" {
		return s + " (the plain driver's default, NORMAL, does not sync at every commit)"
	}
	return s + ": commits are not synced one by one (FULL does that)"
}

func (d dir) home(r *run) (home, error) {
	name := filepath.Join(string(d), "run-"+strings.ToLower(rand.Text()[:12])+".db")
	violation := isExtended(sqlite3.ErrConstraintUnique)
	if r.failure != nil {
		violation = r.failure.is
	}
	texts := shapeTexts{exec: "INSERT INTO users (value) VALUES (?)"}
	if r.shape != nil {
		texts = r.shape.texts(sqliteDriver, "users")
	}
	return home{
		name:        name,
		table:       "users",
		insert:      texts.exec,
		reads:       texts.reads,
		synchronous: r.synchronous,
		prepare:     func(_ context.Context, db *sql.DB) error { return prepareSQLite(db, r) },
		violation:   violation,
		remove:      func() error { return removeSQLite(name) },
	}, nil
}

func (d dir) plain(h home) (*sql.DB, error) {
	return openPlain(h.name, &run{side: plain, synchronous: h.synchronous})
}

// prepareSQLite makes the table, and makes sure that the output tells the true settings.
func prepareSQLite(db *sql.DB, r *run) error {
	create := "CREATE TABLE users (id INTEGER PRIMARY KEY, value INTEGER)"
	switch {
	case r.shape != nil:
		create = r.shape.texts(sqliteDriver, "users").create
	case r.failure != nil:
		create += "; " + r.failure.named(r.failure.setup, "users")
	case r.clash > 0:
		create = fmt.Sprintf("CREATE TABLE users (id INTEGER PRIMARY KEY, value INTEGER UNIQUE); INSERT INTO users (value) VALUES (%d)", taken)
	}
	if _, err := db.Exec(create); err != nil {
		return err
	}
	var journal string
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	var level int
	if err := db.QueryRow("PRAGMA synchronous").Scan(&level); err != nil {
		return err
	}
	want := map[string]int{"off": 0, "normal": 1, "full": 2}[r.synchronous]
	if journal != "wal" || level != want {
		return fmt.Errorf("the settings did not take: journal_mode is %s, not wal, or synchronous is %d, not %d", journal, level, want)
	}
	return nil
}
