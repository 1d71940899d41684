package main

import (
	"database/sql"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit"
	gcsqlite3 "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/mattn/go-sqlite3"
)

// A side of the comparison is a driver, the pool that serves it best, and how its commits are counted.
type side struct {
	driver string // its registered name
	batch  bool
	pool   string // what people are told of it
	open   func(file string, r *run) (*sql.DB, error)
	count  func(db *sql.DB, w *work) (groups, error)
}

// groups are the transactions that a run's inserts came to.
type groups struct {
	commits int
	mean    float64
	largest int
}

var (
	plain = side{
		driver: "sqlite3",
		pool:   "1 connection: SQLite has one writer, and more of them would only wait for its lock",
		open:   openPlain,
		count: func(_ *sql.DB, w *work) (groups, error) { // every Exec by itself is a transaction
			return groups{w.users, float64(min(1, w.users)), min(1, w.users)}, nil
		},
	}
	grouped = side{
		driver: gcsqlite3.DriverName,
		batch:  true,
		pool:   "as many connections as goroutines, all of them kept: they are virtual",
		open:   openGrouped,
		count: func(db *sql.DB, _ *work) (groups, error) {
			s, err := groupcommit.StatsOf(db)
			return groups{int(s.Groups), s.MeanGroup(), s.MaxGroup}, err
		},
	}
	byHand = side{
		driver: "sqlite3",
		batch:  true,
		open:   openPlain,
		count:  func(_ *sql.DB, w *work) (groups, error) { return w.byHand, nil },
	}
)

func openPlain(file string, r *run) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", dsn(file, r))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func openGrouped(file string, r *run) (*sql.DB, error) {
	name := gcsqlite3.DriverName
	if r.lines != nil {
		name = listening(r.lines)
	}
	db, err := sql.Open(name, dsn(file, r))
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(r.goroutines)
	return db, nil
}

// listening registers the same driver once more, with its groups written down.
func listening(l *lines) string {
	name := fmt.Sprintf("%s-verbose-%d", gcsqlite3.DriverName, len(sql.Drivers()))
	groupcommit.Register(name, &sqlite3.SQLiteDriver{}, groupcommit.OnGroup(l.group))
	return name
}

// dsn is the same for all sides, but for groupcommit's own options.
func dsn(file string, r *run) string {
	q := url.Values{"_journal_mode": {"WAL"}, "_synchronous": {strings.ToUpper(r.synchronous)}}
	if r.maxLen > 0 && r.driver == gcsqlite3.DriverName {
		q.Set("groupcommit_maxlen", strconv.Itoa(r.maxLen))
	}
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()
}

// prepare makes the table, and makes sure that the settings are what the output says.
func prepare(db *sql.DB, r *run) error {
	if _, err := db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY, value INTEGER)"); err != nil {
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
