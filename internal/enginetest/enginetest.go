// Package enginetest is the conformance suite that every engine runs: stories of a program in which one string,
// the driver's name, has changed. Where a story compares, it compares with the plain driver of the same run.
//
// An engine's package calls [Run] once for each kind of data source that it serves.
package enginetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// Config describes a database to the suite.
type Config struct {
	Plain string // the name of the plain driver
	Ours  string // the name of the same driver with groups

	// DSN returns the name of a new and empty database that both drivers can open.
	DSN func(t *testing.T) string
	// OneConn says that a database lives in one connection, so that a second sql.Open of a DSN finds another.
	OneConn bool
	// LockToHold says that a write transaction keeps a group waiting only at a row that it has locked, and not, as
	// on a database with one writer, from beginning.
	LockToHold bool

	Placeholder  func(n int) string // of argument n, counted from 1: "?" or "$1"
	Key          string             // type of an integer key that the database numbers
	Blob         string             // type of bytes
	Time         string             // type of a point in time
	LastInsertID bool               // results have one
	NamedArgs    bool               // sql.Named, written :name

	SetSession  string // a statement that changes the session
	GetSession  string // a query of one value that shows the change
	LastID      string // a query of one value: the key of the session's last INSERT
	Slow        string // an INSERT into items of a row that is named 'slow', or more, that takes seconds
	NativeError func(error) bool
	NativeConn  func(driver.Conn) bool

	// WithoutChance removes from an error the parts that differ from run to run: the number of a row that was never there.
	// nil says that there are no such parts.
	WithoutChance func(error) error
	// CommitIsCancelled says that a context can end the plain driver's waiting for a commit, and not the commit.
	CommitIsCancelled bool
}

// Run tells all stories, some at the same time.
func Run(t *testing.T, cfg Config) {
	noGoroutineStays(t)
	for _, stories := range [][]story{execStories, errorStories, cancelStories, txStories, promiseStories, closeStories, commandStories, commandFailStories, commandIDStories, tryStories, durableStories} {
		for _, st := range stories {
			t.Run(st.name, func(t *testing.T) {
				t.Parallel()
				st.tell(begin(t, cfg))
			})
		}
	}
}

// A story's name says what holds.
type story struct {
	name string
	tell func(*scene)
}

// A scene is a new database, opened by our driver, with the tables of schema.
type scene struct {
	*testing.T
	Config
	dsn string
	db  *sql.DB
}

// schema is written in words that all databases know, except for the three types of Config.
var schema = []string{
	"CREATE TABLE items (id KEY, name TEXT NOT NULL UNIQUE, n BIGINT, x DOUBLE PRECISION, data BLOB, at TIME, ok BOOLEAN)",
	"CREATE TABLE entries (who BIGINT NOT NULL, n BIGINT NOT NULL)", // nothing unique: a row that was written twice shows
	"CREATE TABLE held (n BIGINT NOT NULL PRIMARY KEY)",
}

var background = context.Background()

func begin(t *testing.T, cfg Config) *scene {
	bounded.Test(t)
	noGoroutineOfTheStoryStays(t)
	s := &scene{T: t, Config: cfg, dsn: cfg.DSN(t)}
	s.db = s.open(cfg.Ours, s.dsn)
	s.create(s.db)
	return s
}

func (s *scene) open(driverName, dsn string) *sql.DB {
	s.Helper()
	db, err := sql.Open(driverName, dsn)
	require.NoError(s, err)
	if s.OneConn && driverName == s.Plain {
		db.SetMaxOpenConns(1)
	}
	s.Cleanup(func() { bounded.Wait(s, "the database is closed", func() { db.Close() }) })
	return db
}

// names are numbers that are given once in this run.
var names atomic.Int64

// openWith opens a new database with options.
func (s *scene) openWith(opts ...groupcommit.Option) *sql.DB {
	s.Helper()
	name := fmt.Sprintf("%s-enginetest-%d", s.Ours, names.Add(1))
	opts = append([]groupcommit.Option{groupcommit.Writers(1)}, opts...) // what a story queues is one group
	groupcommit.Register(name, s.open(s.Plain, s.dsn).Driver(), opts...)
	db := s.open(name, s.DSN(s.T))
	s.create(db)
	return db
}

// twin is a new database of the plain driver, with the same tables.
func (s *scene) twin() *sql.DB {
	s.Helper()
	db := s.open(s.Plain, s.DSN(s.T))
	s.create(db)
	return db
}

// witness opens the same database with the plain driver; where there can be no second connection, it returns db.
func (s *scene) witness() *sql.DB {
	s.Helper()
	if s.OneConn {
		return s.db
	}
	return s.open(s.Plain, s.dsn)
}

func (s *scene) create(db *sql.DB) {
	s.Helper()
	types := strings.NewReplacer("PRIMARY KEY", "PRIMARY KEY", " KEY", " "+s.Key, " BLOB", " "+s.Blob, " TIME", " "+s.Time)
	for _, table := range schema {
		_, err := db.Exec(types.Replace(table))
		require.NoError(s, err)
	}
}

// q writes the placeholders of query, which has question marks, as the database wants them.
func (s *scene) q(query string) string {
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteString(s.Placeholder(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

func (s *scene) insert() string { return s.q("INSERT INTO items (name, n) VALUES (?, ?)") }

func (s *scene) exec(db execer, query string, args ...any) sql.Result {
	s.Helper()
	res, err := db.ExecContext(background, s.q(query), args...)
	require.NoError(s, err)
	return res
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column is the first column of a query's rows, as text.
func (s *scene) column(db queryer, query string, args ...any) []string {
	s.Helper()
	rows, err := db.QueryContext(background, s.q(query), args...)
	require.NoError(s, err)
	defer rows.Close()
	got := []string{}
	for rows.Next() {
		var v sql.NullString
		require.NoError(s, rows.Scan(&v))
		if !v.Valid {
			v.String = "NULL"
		}
		got = append(got, v.String)
	}
	require.NoError(s, rows.Err())
	return got
}

func (s *scene) value(db queryer, query string, args ...any) string {
	s.Helper()
	got := s.column(db, query, args...)
	require.Len(s, got, 1, query)
	return got[0]
}

func (s *scene) stats(db *sql.DB) groupcommit.Stats {
	s.Helper()
	st, err := groupcommit.StatsOf(db)
	require.NoError(s, err)
	return st
}

// hold keeps the groups of db from being committed until release is called. Calls queue up meanwhile.
func (s *scene) hold(db *sql.DB) (release func()) {
	s.Helper()
	tx, err := db.Begin()
	require.NoError(s, err)
	row := names.Add(1)
	s.exec(tx, "INSERT INTO held (n) VALUES (?)", row)
	var plug *groupcommit.Promise
	if s.LockToHold {
		plug = groupcommit.Go(background, db, s.q("INSERT INTO held (n) VALUES (?)"), row)
		s.awaitQueued(db, 0)
	}
	return func() {
		s.Helper()
		require.NoError(s, tx.Rollback())
		if plug != nil {
			_, err := plug.Await(background)
			require.NoError(s, err)
		}
	}
}

// awaitQueued waits until n calls are in the queue.
func (s *scene) awaitQueued(db *sql.DB, n int) {
	s.Helper()
	bounded.Until(s, fmt.Sprintf("%d calls are in the queue", n), func() bool { return s.stats(db).Queued == n })
}

// together makes calls, each an Exec of db, that queue up in this order and then form one group.
func (s *scene) together(db *sql.DB, calls ...func()) {
	s.Helper()
	release := s.hold(db)
	before := s.stats(db)
	var done sync.WaitGroup
	for i, call := range calls {
		done.Go(call)
		s.awaitQueued(db, i+1)
	}
	release()
	bounded.Wait(s, "the calls of the group are answered", done.Wait)
	require.Equal(s, before.Calls+int64(len(calls)), s.stats(db).Calls, "calls of groups")
	require.GreaterOrEqual(s, s.stats(db).MaxGroup, len(calls), "the calls were not one group")
}

// crowd runs f in n goroutines at once.
func (s *scene) crowd(n int, f func(i int)) {
	s.Helper()
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { f(i) })
	}
	bounded.Wait(s, fmt.Sprintf("%d goroutines have done what they do", n), done.Wait)
}

// sameError requires an error to be the plain driver's.
func (s *scene) sameError(plain, ours error, msg ...any) {
	s.Helper()
	if plain == nil {
		require.NoError(s, ours, msg...)
		return
	}
	require.EqualError(s, ours, plain.Error(), msg...)
	require.Equal(s, reflect.TypeOf(plain), reflect.TypeOf(ours), msg...)
	require.Equal(s, s.NativeError(plain), s.NativeError(ours), msg...)
	if s.WithoutChance != nil {
		plain, ours = s.WithoutChance(plain), s.WithoutChance(ours)
	}
	require.Equal(s, plain, ours, msg...)
}

func name(i int) string { return "name " + strconv.Itoa(i) }
