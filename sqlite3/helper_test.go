package sqlite3_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// dsnOf is the name of a new database in a file.
func dsnOf(t testing.TB, params string) string {
	bounded.Test(t)
	return "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_sync=OFF" + params
}

func openDB(t testing.TB, driverName, dsn string, schema ...string) *sql.DB {
	t.Helper()
	bounded.Test(t)
	db, err := sql.Open(driverName, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { bounded.Wait(t, "the database is closed", func() { db.Close() }) })
	for _, q := range schema {
		exec(t, db, q)
	}
	return db
}

func ours(t testing.TB, dsn string, schema ...string) *sql.DB {
	t.Helper()
	if strings.Contains(dsn, impatient) {
		return openDB(t, impatientDriver, dsn, schema...)
	}
	return openDB(t, sqlite3.DriverName, dsn, schema...)
}

func exec(t testing.TB, db diffTarget, query string, args ...any) sql.Result {
	t.Helper()
	res, err := db.ExecContext(background, query, args...)
	require.NoError(t, err, query)
	return res
}

var driverNames atomic.Int64

// hookedDrivers registers a driver that sets up each of its connections, plain and with groups.
func hookedDrivers(hook func(*mattn.SQLiteConn) error, opts ...groupcommit.Option) (plain, grouped string) {
	plain = fmt.Sprintf("sqlite3-hooked-%d", driverNames.Add(1))
	grouped = plain + "-groupcommit"
	sql.Register(plain, &mattn.SQLiteDriver{ConnectHook: hook})
	opts = append([]groupcommit.Option{groupcommit.WithEngine(impatientEngine{})}, opts...)
	groupcommit.Register(grouped, &mattn.SQLiteDriver{ConnectHook: hook}, opts...)
	return plain, grouped
}

// hold begins a write transaction, which keeps everything else from writing.
func hold(t testing.TB, db *sql.DB) (release func()) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("CREATE TABLE held (a)")
	require.NoError(t, err)
	return func() {
		t.Helper()
		require.NoError(t, tx.Rollback())
	}
}

func awaitQueued(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	bounded.Until(t, fmt.Sprintf("%d calls are in the queue", n), func() bool {
		st, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		return st.Queued == n
	})
}

// call is an Exec and its outcome.
type call struct {
	query string
	args  []any
	err   error
	rows  int64
	id    int64
}

func calls(queries ...string) (cs []*call) {
	for _, q := range queries {
		cs = append(cs, &call{query: q})
	}
	return cs
}

func (c *call) exec(db *sql.DB) {
	res, err := db.Exec(c.query, c.args...)
	if c.err = err; err == nil {
		c.rows, c.err = res.RowsAffected()
		c.id, _ = res.LastInsertId()
	}
}

// asGroup executes calls of db as one group, in their order.
func asGroup(t testing.TB, db *sql.DB, cs []*call) {
	t.Helper()
	asGroupBehind(t, db, db, cs)
}

// asGroupBehind is asGroup behind a transaction of holder's, another sql.DB of the file: no connection of db is used for that.
func asGroupBehind(t testing.TB, holder, db *sql.DB, cs []*call) {
	t.Helper()
	release := hold(t, holder)
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	var done sync.WaitGroup
	for i, c := range cs {
		done.Go(func() { c.exec(db) })
		awaitQueued(t, db, i+1)
	}
	release()
	bounded.Wait(t, "the calls are answered", done.Wait)
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, before.Groups+1, after.Groups, "the calls were not one group")
}

// sameAsPlain executes calls as one group of a new database of ours and one after the other on a new one of the plain
// driver, and requires each answer and the database to be the same in the end. It returns the plain answers.
func sameAsPlain(t testing.TB, plain, grouped, params string, schema []string, queries ...string) []*call {
	t.Helper()
	p, g := openDB(t, plain, dsnOf(t, params), schema...), openDB(t, grouped, dsnOf(t, params), schema...)
	p.SetMaxOpenConns(1)
	want, got := calls(queries...), calls(queries...)
	for _, c := range want {
		c.exec(p)
	}
	asGroup(t, g, got)
	for i := range want {
		sameError(t, want[i].err, got[i].err, "call %d: %s", i, want[i].query)
		require.Equal(t, want[i].rows, got[i].rows, "call %d: %s", i, want[i].query)
	}
	require.Equal(t, dump(p), dump(g))
	require.Equal(t, dump(p), dump(openDB(t, plain, fileOf(t, g))), "as another connection sees it")
	return want
}

func fileOf(t testing.TB, db *sql.DB) string {
	t.Helper()
	return "file:" + strings.Join(texts(db, "SELECT file FROM pragma_database_list WHERE name = 'main'"), "")
}

func sameError(t testing.TB, plain, ours error, msg ...any) {
	t.Helper()
	require.Equal(t, errorText(plain), errorText(ours), msg...)
	require.Equal(t, reflect.TypeOf(plain), reflect.TypeOf(ours), msg...)
}

// code is what a program finds with a type assertion, without errors.As.
func code(t testing.TB, err error) mattn.ErrNo {
	t.Helper()
	require.IsType(t, mattn.Error{}, err)
	return err.(mattn.Error).Code
}
