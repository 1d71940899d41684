package sqlite3_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// booming is a driver whose SQL has a function that panics with the number 13, and ends its goroutine with 14.
func booming(opts ...groupcommit.Option) (driverName string) {
	_, driverName = hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("boom", func(x int64) int64 {
			switch x {
			case 13:
				panic("boom")
			case 14:
				runtime.Goexit()
			}
			return x
		}, false)
	}, opts...)
	return driverName
}

// ending calls f in a goroutine of its own and says how that ended.
func ending(f func()) (how string) {
	ended := make(chan string)
	go func() {
		how := "exit"
		defer func() {
			if v := recover(); v != nil {
				how = fmt.Sprint(v)
			}
			ended <- how
		}()
		f()
		how = "return"
	}()
	return <-ended
}

// free requires that nobody has a lock on the database: neither a writer's nor a reader's.
func free(t *testing.T, dsn string) {
	t.Helper()
	plain := openDB(t, "sqlite3", dsn+"&_busy_timeout=0")
	exec(t, plain, "CREATE TABLE free (a)")
	exec(t, plain, "DROP TABLE free")
	var busy, log, done int
	require.NoError(t, plain.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done))
	require.Zero(t, busy, "somebody reads")
	require.NoError(t, plain.Close())
}

const (
	boom       = "INSERT INTO t SELECT boom(value) FROM json_each(?)"
	boomNoArgs = "INSERT INTO t SELECT boom(value) FROM json_each('[1,2,%d,4]')"
)

// inJournals runs a story in both kinds of journals.
func inJournals(t *testing.T, story func(t *testing.T, dsn string)) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			story(t, strings.Replace(dsnOf(t, ""), "_journal=WAL", "_journal="+mode, 1))
		})
	}
}

func TestAFunctionThatPanicsInAGroupIsItsCallersOnly(t *testing.T) {
	inJournals(t, func(t *testing.T, dsn string) {
		db := openDB(t, booming(), dsn, "CREATE TABLE t (a)")
		for _, query := range []string{boom, fmt.Sprintf(boomNoArgs, 13)} {
			for culprit := range 4 {
				exec(t, db, "DELETE FROM t")
				release := hold(t, db)
				var done sync.WaitGroup
				var hows [4]string
				for i := range hows {
					done.Go(func() {
						hows[i] = ending(func() {
							switch {
							case i != culprit:
								exec(t, db, boom, fmt.Sprintf("[%d]", i))
							case query == boom:
								db.Exec(boom, "[1,2,13,4]")
							default:
								db.Exec(query)
							}
						})
					})
					awaitQueued(t, db, i+1)
				}
				release()
				bounded.Wait(t, "the calls are answered", done.Wait)
				for i, how := range hows {
					require.Equal(t, map[bool]string{true: "boom", false: "return"}[i == culprit], how)
				}
				require.Equal(t, 3, count(t, db, "SELECT count(*) FROM t"))
				free(t, dsn)
			}
		}
	})
}

func TestAFunctionThatPanicsAloneLeavesNothing(t *testing.T) {
	inJournals(t, func(t *testing.T, dsn string) {
		db := openDB(t, booming(groupcommit.Promises()), dsn, "CREATE TABLE t (a)")
		for name, call := range map[string]func(){
			"WithArguments":    func() { db.Exec(boom, "[1,2,13,4]") },
			"WithoutArguments": func() { db.Exec(fmt.Sprintf(boomNoArgs, 13)) },
			"WithRows":         func() { db.Exec(boom+" RETURNING a", "[1,2,13,4]") },
			"WithAnID":         func() { db.ExecContext(withID("x"), boom, "[1,2,13,4]") },
		} {
			require.Equal(t, "boom", ending(call), name)
			require.Zero(t, count(t, openDB(t, "sqlite3", dsn), "SELECT count(*) FROM t"), name)
			free(t, dsn)
		}
		res, err := db.ExecContext(withID("x"), "INSERT INTO t VALUES (1)")
		require.NoError(t, err)
		require.False(t, groupcommit.Deduplicated(res))
	})
}

func TestAfterAPanicOnAConnThatIsHeldItCanBeUsedAndOthersWrite(t *testing.T) {
	dsn := dsnOf(t, "")
	db := openDB(t, booming(groupcommit.Promises()), dsn, "CREATE TABLE t (a)")
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, []string{"0"}, texts(conn, "SELECT count(*) FROM t")) // it has a physical connection
	require.Equal(t, "boom", ending(func() { conn.ExecContext(withID("x"), boom, "[1,2,13,4]") }))
	exec(t, db, "INSERT INTO t VALUES (1)")
	_, err = conn.ExecContext(withID("x"), boom, "[2]")
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, texts(conn, "SELECT count(*) FROM t"))
	free(t, dsn)
}

func TestManyPanicsAtOnceKeepNobodyWaiting(t *testing.T) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dsn := dsnOf(t, "")
			db := openDB(t, booming(), dsn, "CREATE TABLE t (a)")
			db.SetMaxIdleConns(100)
			var panics atomic.Int64
			var done sync.WaitGroup
			for g := range 24 {
				done.Go(func() {
					for i := range 10 {
						n := 100 + g + i
						if n%8 == 5 {
							n = 13
						}
						how := ending(func() { exec(t, db, boom, fmt.Sprintf("[0,%d]", n)) })
						if n == 13 {
							require.Equal(t, "boom", how)
							panics.Add(1)
						} else {
							require.Equal(t, "return", how)
						}
					}
				})
			}
			bounded.Wait(t, "the calls are answered", done.Wait)
			require.NotZero(t, panics.Load())
			require.Equal(t, 2*(240-int(panics.Load())), count(t, db, "SELECT count(*) FROM t"))
			free(t, dsn)
		})
	}
}

func TestAFunctionThatEndsItsGoroutineEndsItsCallersOnly(t *testing.T) {
	inJournals(t, func(t *testing.T, dsn string) {
		db := openDB(t, booming(), dsn, "CREATE TABLE t (a)")
		for culprit := range 4 { // the first one leads
			exec(t, db, "DELETE FROM t")
			release := hold(t, db)
			var done sync.WaitGroup
			var hows [4]string
			for i := range hows {
				done.Go(func() {
					n := i
					if i == culprit {
						n = 14
					}
					hows[i] = ending(func() { exec(t, db, boom, fmt.Sprintf("[1,%d]", n)) })
				})
				awaitQueued(t, db, i+1)
			}
			release()
			bounded.Wait(t, "the calls are answered", done.Wait)
			for i, how := range hows {
				require.Equal(t, map[bool]string{true: "exit", false: "return"}[i == culprit], how)
			}
			require.Equal(t, 6, count(t, db, "SELECT count(*) FROM t"))
			free(t, dsn)
		}
	})
}

func TestAPromiseWhoseFunctionEndsItsGoroutineIsSettled(t *testing.T) {
	dsn := dsnOf(t, "")
	db := openDB(t, booming(), dsn, "CREATE TABLE t (a)")
	for culprit := range 4 {
		release := hold(t, db)
		var ps []*groupcommit.Promise
		for i := range 4 {
			n := i
			if i == culprit {
				n = 14
			}
			ps = append(ps, groupcommit.Go(background, db, boom, fmt.Sprintf("[1,%d]", n)))
		}
		awaitQueued(t, db, len(ps))
		release()
		for i, p := range ps {
			_, err := p.Await(background)
			if i == culprit {
				require.ErrorAs(t, err, new(*groupcommit.PanicError))
			} else {
				require.NoError(t, err)
			}
		}
	}
	require.Equal(t, 24, count(t, db, "SELECT count(*) FROM t"))
	free(t, dsn)
}

// A hook is nothing that can be seen on a connection.
func TestAHookThatPanicsAtACommitIsItsCallersOnly(t *testing.T) {
	_, driverName := hookedDrivers(func(c *mattn.SQLiteConn) error {
		forbidden := false
		c.RegisterUpdateHook(func(_ int, _, table string, _ int64) { forbidden = forbidden || table == "forbidden" })
		c.RegisterRollbackHook(func() { forbidden = false })
		c.RegisterCommitHook(func() int {
			if forbidden {
				panic("boom")
			}
			return 0
		})
		return nil
	})
	dsn := dsnOf(t, "")
	db := openDB(t, driverName, dsn, "CREATE TABLE t (a)", "CREATE TABLE forbidden (a)")
	release := hold(t, db)
	var done sync.WaitGroup
	var hows [4]string
	for i := range hows {
		done.Go(func() {
			hows[i] = ending(func() {
				if i == 2 {
					db.Exec("INSERT INTO forbidden VALUES (?)", i)
				} else {
					exec(t, db, "INSERT INTO t VALUES (?)", i)
				}
			})
		})
		awaitQueued(t, db, i+1)
	}
	release()
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Equal(t, [4]string{"return", "return", "boom", "return"}, hows)
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM t"))
	free(t, dsn)
}
