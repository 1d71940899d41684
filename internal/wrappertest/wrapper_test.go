// Package wrappertest tries wrappers that programs use, below and above groupcommit. It is a module of its own, so that programs
// that use the library do not get its dependencies.
package wrappertest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/luna-duclos/instrumentedsql"
	"github.com/mattn/go-sqlite3"
	"github.com/ngrok/sqlmw"
	"github.com/qustavo/sqlhooks/v2"
	proxy "github.com/shogo82148/go-sql-proxy"
	"github.com/stretchr/testify/require"
)

type hooks struct{}

func (hooks) Before(ctx context.Context, _ string, _ ...any) (context.Context, error) {
	return ctx, nil
}
func (hooks) After(ctx context.Context, _ string, _ ...any) (context.Context, error) { return ctx, nil }

type interceptor struct{ sqlmw.NullInterceptor }

var wrappers = map[string]func(driver.Driver) driver.Driver{
	"sqlhooks":        func(d driver.Driver) driver.Driver { return sqlhooks.Wrap(d, hooks{}) },
	"sqlmw":           func(d driver.Driver) driver.Driver { return sqlmw.Driver(d, interceptor{}) },
	"otelsql":         func(d driver.Driver) driver.Driver { return otelsql.WrapDriver(d) },
	"go-sql-proxy":    func(d driver.Driver) driver.Driver { return proxy.NewProxyContext(d, &proxy.HooksContext{}) },
	"instrumentedsql": func(d driver.Driver) driver.Driver { return instrumentedsql.WrapDriver(d) },
}

func dsn(t *testing.T) string {
	return "file:" + filepath.Join(t.TempDir(), "a.db") + "?_journal=WAL&groupcommit_promises=on"
}

// works has many callers insert, each once.
func works(t *testing.T, db *sql.DB) {
	_, err := db.Exec("CREATE TABLE t (n INTEGER UNIQUE)")
	require.NoError(t, err)
	const callers, each = 16, 20
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				if _, err := db.Exec("INSERT INTO t VALUES (?)", next.Add(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	_, err = db.Exec("INSERT INTO t VALUES (?)", 1)
	require.ErrorAs(t, err, new(sqlite3.Error))
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM t").Scan(&n))
	require.Equal(t, callers*each, n)
}

func TestBelowUsAWrapperHasTheEngineOfItsDriver(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			groupcommit.Register("below-"+name, wrap(&sqlite3.SQLiteDriver{}))
			db, err := sql.Open("below-"+name, dsn(t))
			require.NoError(t, err)
			defer db.Close()
			works(t, db) // and only the engine keeps promises
		})
	}
}

func TestAboveUsAWrapperHidesNoDatabase(t *testing.T) {
	ctx := t.Context()
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			ours, err := sql.Open("sqlite3-groupcommit", "")
			require.NoError(t, err)
			defer ours.Close()
			sql.Register("above-"+name, wrap(ours.Driver()))
			db, err := sql.Open("above-"+name, dsn(t))
			require.NoError(t, err)
			defer db.Close()
			works(t, db)
			st, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			require.EqualValues(t, 16*20+1, st.Calls, "not the database of all callers")
			_, err = groupcommit.Go(groupcommit.WithID(ctx, "x"), db, "INSERT INTO t VALUES (-1)").Await(ctx)
			require.NoError(t, err)
			_, err = groupcommit.Lookup(ctx, db, "x")
			require.NoError(t, err)
			_, err = groupcommit.Handle(db, func(context.Context, *sql.Tx, []*groupcommit.Command[int, int]) error { return nil })
			require.NoError(t, err)
			c, err := db.Conn(ctx)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, groupcommit.Raw(ctx, c, func(driver.Conn) error { return nil }))
		})
	}
}
