package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// through is a driver whose connections are wrapped.
type through struct {
	driver.Driver
	wrap func(driver.Conn) driver.Conn
}

func (d through) Open(dsn string) (driver.Conn, error) {
	c, err := d.Driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return d.wrap(c), nil
}

// registerThrough registers a wrapped driver, plain and with groups.
func registerThrough(wrap func(driver.Conn) driver.Conn, opts ...groupcommit.Option) (plain, grouped string) {
	plain = fmt.Sprintf("sqlite3-through-%d", driverNames.Add(1))
	grouped = plain + "-groupcommit"
	d := through{&mattn.SQLiteDriver{}, wrap}
	sql.Register(plain, d)
	groupcommit.Register(grouped, d, opts...)
	return plain, grouped
}

type (
	inEmbedded struct{ driver.Conn }
	inPrivate  struct {
		hooks  []string
		parent driver.Conn
	}
	inTwo struct {
		driver.Conn
		replica driver.Conn
	}
	inFunc struct{ conn func() driver.Conn }
)

func (c inPrivate) Prepare(q string) (driver.Stmt, error) { return c.parent.Prepare(q) }
func (c inPrivate) Close() error                          { return c.parent.Close() }
func (c inPrivate) Begin() (driver.Tx, error)             { return c.BeginTx(background, driver.TxOptions{}) }
func (c inPrivate) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.parent.(driver.ConnBeginTx).BeginTx(ctx, o)
}
func (c inFunc) Prepare(q string) (driver.Stmt, error) { return c.conn().Prepare(q) }
func (c inFunc) Close() error                          { return c.conn().Close() }
func (c inFunc) Begin() (driver.Tx, error) {
	return c.conn().(driver.ConnBeginTx).BeginTx(background, driver.TxOptions{})
}

// byEngine reports that a database has this package's engine: only that keeps promises.
func byEngine(t *testing.T, driverName string) bool {
	db := openDB(t, driverName, dsnOf(t, "&groupcommit_promises=on"))
	err := db.Ping()
	if err != nil {
		require.ErrorContains(t, err, "promises")
	}
	return err == nil
}

// hiding is what has been logged of wrappers that hide their connections. Each type is logged once in a process, however often the test runs.
var hiding strings.Builder

func TestTheEngineIsFoundBehindAWrapperAndIsLoggedWhereItIsNot(t *testing.T) {
	for name, wrap := range map[string]func(driver.Conn) driver.Conn{
		"an embedded interface": func(c driver.Conn) driver.Conn { return &inEmbedded{c} },
		"a private field":       func(c driver.Conn) driver.Conn { return inPrivate{parent: c} },
		"both":                  func(c driver.Conn) driver.Conn { return inEmbedded{inPrivate{nil, c}} },
		"Unwrap":                func(c driver.Conn) driver.Conn { return wrapped{c.(*mattn.SQLiteConn)} },
		"a replica, not opened": func(c driver.Conn) driver.Conn { return inTwo{Conn: c} },
	} {
		_, grouped := registerThrough(wrap)
		require.True(t, byEngine(t, grouped), name)
	}
	log := warnings(t)
	for name, wrap := range map[string]func(driver.Conn) driver.Conn{
		"inTwo": func(c driver.Conn) driver.Conn {
			other, err := (&mattn.SQLiteDriver{}).Open(":memory:")
			require.NoError(t, err)
			t.Cleanup(func() { other.Close() })
			return inTwo{c, other}
		},
		"inFunc": func(c driver.Conn) driver.Conn { return inFunc{func() driver.Conn { return c }} },
	} {
		for range 2 {
			_, grouped := registerThrough(wrap)
			require.False(t, byEngine(t, grouped), name)
			db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
			require.Equal(t, 1, count(t, db, "SELECT count(*) FROM t"))
		}
		applog.Wait()
		hiding.WriteString(log.String())
		log.Reset()
		require.Equal(t, 1, strings.Count(hiding.String(), "wrapper=sqlite3_test."+name), hiding.String())
	}
	require.Contains(t, hiding.String(), "Raw() driver.Conn")
}

// interceptor is a wrapper that sees each Exec of a connection, may change it, and knows a type of arguments.
type interceptor struct {
	driver.Conn
	seen func(ctx context.Context, query string, args []driver.NamedValue) string
}

type celsius struct{ degrees int }

func (c interceptor) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, c.seen(ctx, query, args), args)
}

func (c interceptor) CheckNamedValue(nv *driver.NamedValue) error {
	if t, ok := nv.Value.(celsius); ok {
		nv.Value = fmt.Sprintf("%d °C", t.degrees)
		return nil
	}
	return driver.ErrSkip
}

func intercepted(seen func(ctx context.Context, query string, args []driver.NamedValue) string) func(driver.Conn) driver.Conn {
	return func(c driver.Conn) driver.Conn { return interceptor{c, seen} }
}

type traceKey struct{}

func TestAWrapperSeesEachCallOfAGroupWithItsCallersContextAndArguments(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	_, grouped := registerThrough(intercepted(func(ctx context.Context, query string, args []driver.NamedValue) string {
		mu.Lock()
		defer mu.Unlock()
		if trace := ctx.Value(traceKey{}); trace != nil {
			seen = append(seen, fmt.Sprint(trace, " ", query, " ", args[0].Value))
		}
		return query
	}))
	db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE a (n)")
	for range 2 { // the second time, too, when the text is known
		seen = nil
		release := hold(t, db)
		var done sync.WaitGroup
		for i, arg := range []any{1, celsius{2}, "3"} {
			done.Go(func() {
				ctx, cancel := context.WithCancel(context.WithValue(background, traceKey{}, i))
				defer cancel()
				_, err := db.ExecContext(ctx, "INSERT INTO a VALUES (?)", arg)
				require.NoError(t, err)
			})
			awaitQueued(t, db, i+1)
		}
		release()
		bounded.Wait(t, "the calls are answered", done.Wait)
		require.Equal(t, []string{"0 INSERT INTO a VALUES (?) 1", "1 INSERT INTO a VALUES (?) 2 °C", "2 INSERT INTO a VALUES (?) 3"}, seen)
	}
	require.Equal(t, []string{"1", "2 °C", "3", "1", "2 °C", "3"}, texts(db, "SELECT n FROM a"))
}

// What a wrapper makes of a statement is executed in a group, too, and leaves what it leaves by itself. The text that the
// program has sent says nothing of it.
func TestAWrapperMayChangeTheCallsOfAGroup(t *testing.T) {
	rewrite := intercepted(func(_ context.Context, query string, _ []driver.NamedValue) string {
		return strings.ReplaceAll(query, "tenant:", "tenant_")
	})
	plain, grouped := registerThrough(rewrite)
	schema := []string{"CREATE TABLE tenant_a (n INT) STRICT", "CREATE TABLE tenant_b (n INT UNIQUE)"}
	want := sameAsPlain(t, plain, grouped, "", schema,
		"INSERT INTO tenant:a VALUES (1)",
		"INSERT INTO tenant:a VALUES (2), ('x')", // fails when it has written a row
		"INSERT INTO tenant:b VALUES (1)",
		"INSERT INTO tenant:b VALUES (1)",
		"INSERT INTO tenant:c VALUES (1)",
		"INSERT INTO tenant:b VALUES (2)",
		"INSERT INTO tenant:a VALUES (3)")
	for i, fails := range []bool{false, true, false, true, true, false, false} {
		require.Equal(t, fails, want[i].err != nil, "call %d: %v", i, want[i].err)
	}
	require.ErrorAs(t, want[1].err, new(mattn.Error))
}

// A wrapper that refuses a call, a limiter say, refuses it in a group.
func TestAWrappersRefusalIsItsCallersOnly(t *testing.T) {
	refused := errors.New("refused")
	_, grouped := registerThrough(func(c driver.Conn) driver.Conn { return refusing{inEmbedded{c}, refused} })
	db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE a (n)")
	cs := []*call{{query: "INSERT INTO a VALUES (?)", args: []any{1}}, {query: "INSERT INTO a VALUES (?)", args: []any{13}},
		{query: "INSERT INTO a VALUES (?)", args: []any{2}}}
	var done sync.WaitGroup
	release := hold(t, db)
	for i, c := range cs {
		done.Go(func() { c.exec(db) })
		awaitQueued(t, db, i+1)
	}
	release()
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.NoError(t, cs[0].err)
	require.Equal(t, refused, cs[1].err)
	require.NoError(t, cs[2].err)
	require.Equal(t, []string{"1", "2"}, texts(db, "SELECT n FROM a"))
}

type refusing struct {
	inEmbedded
	err error
}

func (c refusing) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) > 0 && args[0].Value == int64(13) {
		return nil, c.err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}
