package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func oldStmt(s *fakeStmt) driver.Stmt { return s }

func modernStmt(s *fakeStmt) driver.Stmt {
	return struct {
		*fakeStmt
		withStmtCtx
	}{s, withStmtCtx{s}}
}

// modern is a driver with all that there is, bar what concerns arguments.
var modern = variant{"all", func(c *fakeConn) driver.Conn {
	return struct {
		*fakeConn
		withExecerCtx
		withQueryerCtx
		withBeginTx
		withPrepareCtx
		withReset
		withValidator
		withPinger
	}{c, withExecerCtx{c}, withQueryerCtx{c}, withBeginTx{c}, withPrepareCtx{c}, withReset{c}, withValidator{c}, withPinger{c}}
}, modernStmt}

var old = variant{"old interfaces only", func(c *fakeConn) driver.Conn { return c }, oldStmt}

var variants = []variant{
	modern,
	old,
	{"Execer and Queryer", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withExecer
			withQueryer
		}{c, withExecer{c}, withQueryer{c}}
	}, oldStmt},
	{"ExecerContext only", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withExecerCtx
		}{c, withExecerCtx{c}}
	}, oldStmt},
	{"both Execers", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withQueryer
			bothExecers
		}{c, withQueryer{c}, bothExecers{withExecer{c}, withExecerCtx{c}}}
	}, modernStmt},
	{"ErrSkip", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withSkip
			withBeginTx
		}{c, withSkip{c}, withBeginTx{c}}
	}, oldStmt},
	{"ErrSkip, NamedValueChecker", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withSkip
			withChecker
		}{c, withSkip{c}, withChecker{"conn"}}
	}, modernStmt},
	{"ConnPrepareContext", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withPrepareCtx
		}{c, withPrepareCtx{c}}
	}, modernStmt},
	{"NamedValueChecker", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withExecerCtx
			withQueryerCtx
			withChecker
		}{c, withExecerCtx{c}, withQueryerCtx{c}, withChecker{"conn"}}
	}, modernStmt},
	{"NamedValueChecker of both", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withChecker
		}{c, withChecker{"conn"}}
	}, func(s *fakeStmt) driver.Stmt {
		return struct {
			*fakeStmt
			withStmtCtx
			withChecker
		}{s, withStmtCtx{s}, withChecker{"stmt"}}
	}},
	{"ColumnConverter", func(c *fakeConn) driver.Conn { return c }, func(s *fakeStmt) driver.Stmt {
		return struct {
			*fakeStmt
			withColumnTypes
		}{s, withColumnTypes{}}
	}},
	{"ColumnConverter, NamedValueChecker", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withChecker
		}{c, withChecker{"conn"}}
	}, func(s *fakeStmt) driver.Stmt {
		return struct {
			*fakeStmt
			withColumnTypes
		}{s, withColumnTypes{}}
	}},
	{"SessionResetter", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withReset
		}{c, withReset{c}}
	}, oldStmt},
	{"Validator, Pinger", func(c *fakeConn) driver.Conn {
		return struct {
			*fakeConn
			withValidator
			withPinger
		}{c, withValidator{c}, withPinger{c}}
	}, oldStmt},
}

type bothExecers struct {
	withExecer
	withExecerCtx
}

type brokenValuer struct{ err error }

func (v brokenValuer) Value() (driver.Value, error) { return nil, v.err }

type words string

func said(v any, err error) string {
	var typ string
	for e := err; e != nil; e = errors.Unwrap(e) {
		typ += fmt.Sprintf(" %T", e)
	}
	return fmt.Sprintf("%v, %v%s", v, err, typ)
}

func ofExec(res sql.Result, err error) string {
	if err != nil {
		return said(nil, err)
	}
	id, err1 := res.LastInsertId()
	n, err2 := res.RowsAffected()
	return said(id, err1) + "; " + said(n, err2)
}

func ofRow(row *sql.Row) string {
	var s string
	err := row.Scan(&s)
	return said(s, err)
}

// program is what a program may do with a database, step by step; each step says what came of it.
var program = []struct {
	name string
	step func(ctx context.Context, db *sql.DB) string
}{
	{"Ping", func(ctx context.Context, db *sql.DB) string { return said(nil, db.PingContext(ctx)) }},
	{"Exec", func(ctx context.Context, db *sql.DB) string {
		return ofExec(db.ExecContext(ctx, "INSERT INTO t VALUES (1)"))
	}},
	{"a failing Exec", func(ctx context.Context, db *sql.DB) string {
		return ofExec(db.ExecContext(ctx, "INSERT FAIL INTO t VALUES (1)")) + ofExec(db.ExecContext(ctx, "CREATE FAIL"))
	}},
	{"a syntax error", func(ctx context.Context, db *sql.DB) string {
		_, err := db.PrepareContext(ctx, "INSERT SYNTAX INTO t VALUES (?)")
		return said(nil, err) + ofExec(db.ExecContext(ctx, "INSERT SYNTAX INTO t VALUES (?)", 1))
	}},
	{"arguments", func(ctx context.Context, db *sql.DB) (all string) {
		var none *brokenValuer
		for _, args := range [][]any{
			{}, {1}, {1, 2}, {1, 2, 3}, {int32(7), 1}, {"a", words("b")}, {nil, none}, {uint8(9), 1}, {1, uint16(9)}, {uint64(1 << 63), 1},
			{complex(1, 1), 1}, {1, struct{}{}}, {make(chan int), 2}, {sql.Named("a", 1), sql.Named("b", int32(2))}, {sql.Named("é", complex(1, 2)), 1},
			{sql.Named("1", 1), 2}, {removed{}, 1, 2}, {1, removed{}, 2}, {1, 2, removed{}}, {1, removed{}}, {[]byte("x"), sql.RawBytes("y")},
			{time.Unix(0, 0).UTC(), true}, {1.5, float32(2.5)}, {brokenValuer{errFake}, 1}, {sql.NullString{}, sql.Null[int]{V: 4, Valid: true}},
			{brokenValuer{driver.ErrRemoveArgument}, 1, 2}, {sql.Out{Dest: new(int)}, 1},
		} {
			all += ofExec(db.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", args...)) + "\n"
			all += ofExec(db.ExecContext(ctx, "CREATE TABLE t (?, ?)", args...)) + "\n"
			all += ofRow(db.QueryRowContext(ctx, "SELECT ?, ?", args...)) + "\n"
			for _, query := range []string{"INSERT INTO u VALUES (?, ?)", "SELECT ?, ? FROM u", "CREATE TABLE u (?, ?)"} {
				st, err := db.PrepareContext(ctx, query)
				if err != nil {
					return all + err.Error()
				}
				all += ofExec(st.ExecContext(ctx, args...)) + "\n" + ofRow(st.QueryRowContext(ctx, args...)) + "\n" + said(nil, st.Close()) + "\n"
			}
		}
		return all
	}},
	{"queries", func(ctx context.Context, db *sql.DB) string {
		return ofRow(db.QueryRowContext(ctx, "SELECT 1")) + ofRow(db.QueryRowContext(ctx, "SELECT FAIL")) +
			ofRow(db.QueryRowContext(ctx, "SELECT ? SYNTAX", 1)) + ofRow(db.QueryRowContext(ctx, "INSERT INTO t VALUES (?) RETURNING id", 1))
	}},
	{"transactions", func(ctx context.Context, db *sql.DB) (all string) {
		for _, opts := range []*sql.TxOptions{nil, {}, {ReadOnly: true}, {Isolation: sql.LevelSerializable}, {Isolation: sql.LevelLinearizable}} {
			for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
				tx, err := db.BeginTx(ctx, opts)
				if all += said(nil, err); err != nil {
					continue
				}
				all += ofExec(tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)) + ofRow(tx.QueryRowContext(ctx, "SELECT ?", 1))
				st, err := tx.PrepareContext(ctx, "INSERT INTO t VALUES (?)")
				if all += said(nil, err); err == nil {
					all += ofExec(st.ExecContext(ctx, 2)) + ofExec(st.ExecContext(ctx))
				}
				all += ofExec(tx.ExecContext(ctx, "INSERT FAIL")) + said(nil, end(tx)) + said(nil, tx.Commit()) + "\n"
			}
		}
		return all
	}},
	{"one sql.Conn", func(ctx context.Context, db *sql.DB) string {
		c, err := db.Conn(ctx)
		if err != nil {
			return said(nil, err)
		}
		return ofExec(c.ExecContext(ctx, "SET x = 1")) + ofExec(c.ExecContext(ctx, "INSERT INTO t VALUES (3)")) +
			ofRow(c.QueryRowContext(ctx, "SELECT x")) + said(nil, c.PingContext(ctx)) + said(nil, c.Close())
	}},
	{"a statement used again", func(ctx context.Context, db *sql.DB) (all string) {
		st, err := db.PrepareContext(ctx, "UPDATE t SET x = ?")
		if err != nil {
			return said(nil, err)
		}
		for i := range 3 {
			all += ofExec(st.ExecContext(ctx, i)) + ofRow(st.QueryRowContext(ctx, i))
		}
		return all + said(nil, st.Close()) + ofExec(st.ExecContext(ctx, 4))
	}},
	{"a context that has ended", func(ctx context.Context, db *sql.DB) string {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := db.BeginTx(ctx, nil)
		return ofExec(db.ExecContext(ctx, "INSERT INTO t VALUES (4)")) + ofRow(db.QueryRowContext(ctx, "SELECT 4")) + said(nil, err)
	}},
}

func TestEveryKindOfDriverAnswersAsItDoesWithoutUs(t *testing.T) {
	for _, v := range variants {
		for _, unknownInputs := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, inputs unknown %t", v.name, unknownInputs), func(t *testing.T) {
				native, ours := newFakeOf(v), newFakeOf(v)
				native.unnamed, ours.unnamed = unknownInputs, unknownInputs
				nativeDB, oursDB := native.plain(t), ours.db(t)
				for _, p := range program {
					want, got := p.step(t.Context(), nativeDB), p.step(t.Context(), oursDB)
					assert.Equal(t, want, got, p.name)
					assert.NotContains(t, got, driver.ErrSkip.Error(), p.name)
				}
				assert.Equal(t, native.stored(), ours.stored())
				for _, op := range []string{"exec", "stmt exec", "query", "stmt query", "begin", "commit", "rollback", "ping"} {
					assert.Equal(t, native.count(op), ours.count(op), "how often the driver saw: "+op)
				}
			})
		}
	}
}

// inGroup has the queries run in one group: they queue up behind a call that takes its time.
func inGroup(t *testing.T, f *fake, db *sql.DB, queries ...func() error) []error {
	var all sync.WaitGroup
	all.Go(func() { _, err := db.Exec("INSERT plug"); assert.NoError(t, err) })
	synctest.Wait()
	errs := make([]error, len(queries))
	for i, q := range queries {
		all.Go(func() { errs[i] = q() })
		synctest.Wait()
	}
	close(f.hold)
	all.Wait()
	return errs
}

func execOf(db *sql.DB, query string, args ...any) func() error {
	return func() error { _, err := db.Exec(query, args...); return err }
}

func TestAGroupIsOneTransaction(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeOf(v)
				db := f.usedDB(t)
				errs := inGroup(t, f, db, execOf(db, "INSERT a"), execOf(db, "UPDATE b"), execOf(db, "DELETE c"))
				require.Equal(t, make([]error, 3), errs)
				assert.Len(t, f.stored(), 4)
				assert.Equal(t, 1, f.count("begin"))
				assert.Equal(t, 1, f.count("commit"))
				assert.Equal(t, 1, f.count("open"), "groups have one connection")
			})
		})
	}
}

func TestInAGroupEachErrorGoesToItsOwnCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeOf(variants[8])
		require.Equal(t, "NamedValueChecker", f.variant.name)
		db := f.db(t)
		errs := inGroup(t, f, db, execOf(db, "INSERT a"), execOf(db, "INSERT FAIL"), execOf(db, "INSERT b ?", complex(1, 1)), execOf(db, "INSERT c"))
		require.NoError(t, errs[0])
		require.Equal(t, errFake, errs[1], "the driver's own value")
		require.EqualError(t, errs[2], "sql: converting argument $1 type: fake: complex numbers are not supported")
		require.NoError(t, errs[3])
		assert.Equal(t, []string{"INSERT plug []", "INSERT a []", "INSERT c []"}, f.stored())
	})
}

type panicker struct{ panic func() }

func (p panicker) Value() (driver.Value, error) { p.panic(); return nil, nil }

func TestAValuerThatPanicsPanicsInItsOwnCallerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t)
		errs := inGroup(t, f, db, execOf(db, "INSERT a"), func() error {
			assert.PanicsWithValue(t, "mine", func() { db.Exec("INSERT ?", panicker{func() { panic("mine") }}) })
			return nil
		}, execOf(db, "INSERT c"))
		require.Equal(t, make([]error, 3), errs)
		assert.Equal(t, []string{"INSERT plug []", "INSERT a []", "INSERT c []"}, f.stored())
	})
}

// On the plain driver, a Valuer that ends its goroutine (with t.FailNow, say) ends it, and that is all.
func TestAValuerThatEndsItsGoroutineLeavesTheDatabaseUsable(t *testing.T) {
	for name, open := range map[string]func(*fake) *sql.DB{
		"plain": func(f *fake) *sql.DB { return f.plain(t) },
		"ours":  func(f *fake) *sql.DB { return f.db(t) },
	} {
		t.Run(name, func(t *testing.T) {
			db := open(newFake())
			over := make(chan struct{})
			go func() {
				defer close(over)
				db.Exec("INSERT ?", panicker{runtime.Goexit})
			}()
			<-over
			d, err := databaseOf(t.Context(), db)
			if err == nil {
				require.Zero(t, d.Pool.Stats().InUse, "the connection of all groups was never given back")
			}
			_, err = db.Exec("INSERT a")
			require.NoError(t, err)
		})
	}
}

func TestAnErrorOfCommitLeavesTheOutcomeUnknown(t *testing.T) {
	for _, cause := range []error{driver.ErrBadConn, fmt.Errorf("lost: %w", driver.ErrBadConn), errFake} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			db := f.usedDB(t)
			f.on("commit", "", 1, cause)
			for _, err := range inGroup(t, f, db, execOf(db, "INSERT a"), execOf(db, "INSERT b")) {
				var unknown *OutcomeUnknownError
				require.ErrorAs(t, err, &unknown)
				require.Equal(t, cause, unknown.Cause)
				require.NotErrorIs(t, err, driver.ErrBadConn)
			}
			assert.Equal(t, 1, f.count("commit"), "it was tried again")
			assert.Equal(t, 1, f.count("close"), "the connection is not to be used again")
		})
	}
}

func TestAGroupThatCannotBeginIsRefusedAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t)
		f.on("begin", "", 1, errFake)
		errs := inGroup(t, f, db, execOf(db, "INSERT a"), execOf(db, "INSERT b"))
		assert.Equal(t, []error{errFake, errFake}, errs)
		assert.Equal(t, 1, f.count("exec"), "each was tried alone")
	})
}

func TestAStaleConnectionOfTheGroupsIsReplaced(t *testing.T) {
	for _, op := range []string{"begin", "exec"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			db := f.db(t)
			f.on(op, "", 0, nil)
			require.NoError(t, db.Ping())
			f.on("exec", " a", 2, driver.ErrBadConn)
			f.on("begin", "", 2, driver.ErrBadConn)
			errs := inGroup(t, f, db, execOf(db, "INSERT a"), execOf(db, "INSERT b"))
			require.Equal(t, make([]error, 2), errs)
			assert.ElementsMatch(t, []string{"INSERT plug []", "INSERT a []", "INSERT b []"}, f.stored(), "each once")
		})
	}
}

// After a restart of the server every pooled connection is stale, and only its use shows it. database/sql tries two
// of them and then a new one.
func TestWhatTheDriverSurvivesWithoutUsItSurvivesWithUs(t *testing.T) {
	doing := map[string]func(db *sql.DB) error{
		"exec": func(db *sql.DB) error { return execOf(db, "INSERT a")() },
		"alone": func(db *sql.DB) error {
			_, err := db.ExecContext(NoBatch(context.Background()), "INSERT a")
			return err
		},
		"query":   func(db *sql.DB) error { return oneRow(context.Background(), db) },
		"ping":    func(db *sql.DB) error { return db.Ping() },
		"prepare": func(db *sql.DB) error { st, err := db.Prepare("SELECT 2"); return errors.Join(err, closed(st)) },
		"tx": func(db *sql.DB) error {
			tx, err := db.Begin()
			if err != nil {
				return err
			}
			return tx.Commit()
		},
	}
	for _, v := range []variant{modern, old, variants[7]} { // the first can tell a stale connection by its reset
		for name, do := range doing {
			t.Run(v.name+", "+name, func(t *testing.T) {
				native, ours := newFakeOf(v), newFakeOf(v)
				for f, db := range map[*fake]*sql.DB{native: native.plain(t), ours: ours.db(t)} {
					db.SetMaxIdleConns(10)
					require.NoError(t, execOf(db, "INSERT 1")())
					var txs []*sql.Tx
					for range 6 {
						tx, err := db.Begin()
						require.NoError(t, err)
						txs = append(txs, tx)
					}
					for _, tx := range txs {
						require.NoError(t, tx.Commit())
					}
					f.restart()
					assert.NoError(t, do(db), "ours: %t", f == ours)
				}
				assert.Equal(t, native.stored(), ours.stored())
			})
		}
	}
}

func oneRow(ctx context.Context, db *sql.DB) error {
	var s string
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&s)
}

func closed(st *sql.Stmt) error {
	if st == nil {
		return nil
	}
	return st.Close()
}

func TestErrBadConnOfConnectingIsTriedAgain(t *testing.T) {
	for failures := range 3 {
		f := newFake()
		f.on("open", "", failures, driver.ErrBadConn)
		db := f.db(t)
		require.NoError(t, execOf(db, "INSERT a")())
		require.Len(t, f.stored(), 1)
	}
	f := newFake()
	f.on("open", "", 1000, errFake)
	db := f.db(t)
	require.Equal(t, errFake, execOf(db, "INSERT a")())
	require.Equal(t, errFake, db.Ping())
}

func TestALeaseEndsWhenDatabaseSQLHasItsConnectionBack(t *testing.T) {
	f := newFake()
	db := f.usedDB(t)
	leased := func() int {
		s, err := StatsOf(db)
		require.NoError(t, err)
		return s.Leased.InUse
	}
	rows, err := db.Query("SELECT 1")
	require.NoError(t, err)
	assert.Equal(t, 1, leased())
	require.NoError(t, rows.Close())
	assert.Zero(t, leased())

	tx, err := db.Begin()
	require.NoError(t, err)
	assert.Equal(t, 1, leased())
	require.NoError(t, tx.Commit())
	assert.Zero(t, leased())
	assert.Zero(t, f.count("close"))

	f.on("query", "", 1, driver.ErrBadConn)
	require.NoError(t, oneRow(t.Context(), db))
	assert.Zero(t, leased())
	assert.Equal(t, 1, f.count("close"), "a bad connection is closed")
}

func TestAConnectionThatIsNoLongerValidIsClosed(t *testing.T) {
	f := newFake()
	db := f.usedDB(t)
	require.NoError(t, oneRow(t.Context(), db))
	f.on("valid", "", 2, errFake)
	require.NoError(t, oneRow(t.Context(), db))
	assert.Equal(t, 1, f.count("close"))
	require.NoError(t, oneRow(t.Context(), db))
}

func TestABoundConnectionStaysWithItsConn(t *testing.T) {
	f := newFake()
	db := f.db(t)
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = c.ExecContext(t.Context(), "SET x = 1")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	var raws [2]driver.Conn
	for i := range raws { // database/sql has one idle connection, and gives it out again
		c, err := db.Conn(t.Context())
		require.NoError(t, err)
		require.NoError(t, Raw(t.Context(), c, func(raw driver.Conn) error { raws[i] = raw; return nil }))
		require.NoError(t, c.Close())
	}
	assert.Equal(t, raws[0], raws[1])
	assert.Equal(t, 1, f.count("exec"))
	assert.Equal(t, 1, f.count("open"), "a program that does one thing at a time has one connection")
}

// Nobody can know whether such a transaction's statements were all undone, least of all the engine for any driver.
func TestAConnectionWhoseTransactionLostItsContextIsNotUsedAgain(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeOf(v)
				db := f.db(t)
				ctx, cancel := context.WithCancel(t.Context())
				tx, err := db.BeginTx(ctx, nil)
				require.NoError(t, err)
				_, err = tx.Exec("INSERT a")
				require.NoError(t, err)
				cancel()
				synctest.Wait()
				require.Error(t, tx.Commit())
				assert.Equal(t, 1, f.count("close"))
				require.NoError(t, execOf(db, "INSERT b")())
				assert.Equal(t, []string{"INSERT b []"}, f.stored())
			})
		})
	}
}

// A goroutine that was left behind would be the bubble's panic.
func TestCloseClosesEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c, err := NewConnector(f)
		require.NoError(t, err)
		db := f.watched(t, sql.OpenDB(c))
		require.NoError(t, execOf(db, "INSERT a")())
		require.NoError(t, oneRow(t.Context(), db))
		rows, err := db.Query("SELECT 1")
		require.NoError(t, err)
		require.NoError(t, db.Close())
		require.NoError(t, db.Close())
		require.NoError(t, c.Close())
		assert.Equal(t, 1, f.count("connector close"))
		assert.Equal(t, 1, f.live, "that of the open rows")
		require.NoError(t, rows.Close())
		assert.Zero(t, f.live)
		require.EqualError(t, execOf(db, "INSERT a")(), "sql: database is closed")
	})
}

func TestCloseReportsTheParentsError(t *testing.T) {
	f := newFake()
	f.on("connector close", "", 1, errFake)
	db := sql.OpenDB(must(NewConnector(f)))
	require.ErrorIs(t, db.Close(), errFake)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestADriversConnectionCanBeOpenedByItself(t *testing.T) {
	f := newFake()
	name := f.register(t)
	registered := must(sql.Open(name, "")).Driver().(*Driver)
	assert.Same(t, f, registered.Unwrap())
	c, err := registered.Open("x?groupcommit_maxlen=3&y=z")
	require.NoError(t, err)
	_, err = c.(driver.ExecerContext).ExecContext(t.Context(), "INSERT a", nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	assert.Equal(t, "x?y=z", f.dsn())
	assert.Zero(t, f.live)
	_, err = registered.Open("x?groupcommit_maxlen=0")
	require.Error(t, err)
}

func TestWhatCannotBeRegisteredPanicsAndSaysWhy(t *testing.T) {
	f := newFake()
	name := f.register(t)
	assert.PanicsWithValue(t, `groupcommit: Register "x": the driver is nil`, func() { Register("x", nil) })
	assert.PanicsWithValue(t, fmt.Sprintf(`groupcommit: Register %q: the name is taken; sql.Drivers() lists those that are`, name),
		func() { Register(name, f) })
	_, err := NewConnector(nil)
	require.EqualError(t, err, "groupcommit: NewConnector: the connector is nil")
	assert.Panics(t, func() { RegisterEngine(nil) })
}

func TestADatabaseThatIsNotOursIsAClearError(t *testing.T) {
	plain := newFake().plain(t)
	for db, want := range map[*sql.DB]string{nil: "the *sql.DB is nil", plain: "has driver *groupcommit.fake, which is not groupcommit's"} {
		_, err := StatsOf(db)
		require.ErrorContains(t, err, want)
		p := Go(t.Context(), db, "INSERT a")
		_, err = p.Await(t.Context())
		require.ErrorContains(t, err, want)
	}
	c, err := plain.Conn(t.Context())
	require.NoError(t, err)
	defer c.Close()
	err = Raw(t.Context(), c, func(driver.Conn) error { t.Fatal("called"); return nil })
	require.ErrorContains(t, err, "is not a connection of groupcommit")
	require.ErrorContains(t, Raw(t.Context(), c, nil), "f is nil")
}

func TestRawGivesTheDriversOwnConnection(t *testing.T) {
	f := newFakeOf(old)
	db := f.db(t)
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, Raw(t.Context(), c, func(raw driver.Conn) error {
		assert.IsType(t, (*fakeConn)(nil), raw)
		return nil
	}))
	require.Equal(t, errFake, Raw(t.Context(), c, func(driver.Conn) error { return errFake }))
	assert.Zero(t, f.count("close"))
	require.ErrorIs(t, Raw(t.Context(), c, func(driver.Conn) error { return driver.ErrBadConn }), driver.ErrBadConn)
	assert.Equal(t, 1, f.count("close"))

	c, err = db.Conn(t.Context())
	require.NoError(t, err)
	assert.Panics(t, func() { Raw(t.Context(), c, func(driver.Conn) error { panic("f") }) })
	assert.Equal(t, 2, f.count("close"), "nobody knows what a panic left")
}

func TestNoConnectionIsUsedByTwoAtOnce(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			f := newFakeOf(v)
			db := f.db(t)
			st, err := db.Prepare("UPDATE t SET x = ?")
			require.NoError(t, err)
			defer st.Close()
			for i, op := range []string{"exec", "stmt exec", "query", "begin", "commit", "prepare", "reset"} {
				f.on(op, strings.Repeat("7", i%2), 5, driver.ErrBadConn)
			}
			var all sync.WaitGroup
			var answered sync.Map
			for g := range 12 {
				all.Go(func() {
					for i := range 40 {
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+i)*200*time.Microsecond)
						query := fmt.Sprintf("INSERT %d/%d", g, i)
						switch i % 4 {
						case 0, 1:
							_, err := db.ExecContext(ctx, query)
							answered.Store(query+" []", err)
						case 2:
							_, _ = st.ExecContext(ctx, i)
							_ = oneRow(ctx, db)
						case 3:
							if tx, err := db.BeginTx(ctx, nil); err == nil {
								_, err := tx.ExecContext(ctx, "INSERT of a transaction")
								assert.NotErrorIs(t, err, driver.ErrSkip)
								_ = tx.Rollback()
							}
						}
						cancel()
					}
				})
			}
			all.Wait()
			times := make(map[string]int)
			for _, row := range f.stored() {
				times[row]++
			}
			answered.Range(func(query, err any) bool {
				want := 1
				if err != nil {
					want = 0
				}
				return assert.Equal(t, want, times[query.(string)], "%s, answered with %v", query, err)
			})
			assert.Zero(t, times["INSERT of a transaction []"])
		})
	}
}
