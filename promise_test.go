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

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checking is the engine for any driver that also converts arguments without a connection, as the engines for a known
// database do. With it, promises join groups.
type checking struct{}

type checkingSession struct{ anySession }

func (checking) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return checkingSession{anySession{conn}}, nil
}

func (checkingSession) Traits() engine.Traits {
	return engine.Traits{Dialect: engine.GenericSQL, Check: engine.DefaultCheck}
}

// kinds are the two ways of a promise: in a group, and beside them.
func kinds(t *testing.T, test func(t *testing.T, f *fake, db *sql.DB)) {
	for name, e := range map[string]Engine{"in groups": checking{}, "any driver": anyEngine()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				test(t, f, f.db(t, WithEngine(e)))
			})
		})
	}
}

// occupy keeps the groups' connection until release.
func occupy(t *testing.T, f *fake, db *sql.DB) (release func()) {
	p := Go(context.Background(), db, "INSERT plug")
	synctest.Wait()
	return func() {
		close(f.hold)
		_, err := p.Await(t.Context())
		require.NoError(t, err)
	}
}

func TestAPromiseIsPendingAndThenResolved(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		p := Go(t.Context(), db, "INSERT ?, ?", 1, "x")
		synctest.Wait()
		assert.Equal(t, durable.Pending, p.State())
		select {
		case <-p.Done():
			t.Fatal("done before its time")
		default:
		}
		release()
		for range 3 { // as often as one likes
			res, err := p.Await(t.Context())
			require.NoError(t, err)
			id, err := res.LastInsertId()
			require.NoError(t, err)
			assert.EqualValues(t, 2, id)
			_, err = res.RowsAffected()
			assert.EqualError(t, err, "fake: rows are not counted")
		}
		<-p.Done()
		assert.Equal(t, durable.Resolved, p.State())
		assert.Equal(t, []string{"INSERT plug []", "INSERT ?, ? [{ 1 1} { 2 x}]"}, f.stored())
	})
}

func TestAPromiseThatFailsHasTheDriversOwnError(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		ps := []*Promise{Go(t.Context(), db, "INSERT 1"), Go(t.Context(), db, "INSERT FAIL"), Go(t.Context(), db, "INSERT 3")}
		release()
		for i, p := range ps {
			res, err := p.Await(t.Context())
			if i != 1 {
				require.NoError(t, err)
				continue
			}
			assert.Equal(t, errFake, err)
			assert.Nil(t, res)
			assert.Equal(t, durable.Rejected, p.State())
		}
		assert.ElementsMatch(t, []string{"INSERT plug []", "INSERT 1 []", "INSERT 3 []"}, f.stored())
	})
}

func TestTheEndOfAnAwaitLeavesThePromiseAlone(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		p := Go(t.Context(), db, "INSERT a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Await(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, durable.Pending, p.State())
		release()
		<-p.Done()
		_, err = p.Await(ctx)
		require.NoError(t, err, "a settled promise answers also under a context that has ended")
		assert.Len(t, f.stored(), 2)
	})
}

func TestAPromiseIsWithdrawnByTheContextOfItsGo(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		canceled, cancel := context.WithCancel(t.Context())
		timedOut, cancel2 := context.WithTimeout(t.Context(), time.Second)
		defer cancel2()
		ended, cancel3 := context.WithCancel(t.Context())
		cancel3()
		for _, test := range []struct {
			ctx   context.Context
			end   func()
			err   error
			state durable.State
		}{
			{canceled, cancel, context.Canceled, durable.RejectedCanceled},
			{timedOut, func() {}, context.DeadlineExceeded, durable.RejectedTimedout},
			{ended, func() {}, context.Canceled, durable.RejectedCanceled},
		} {
			p := Go(test.ctx, db, "INSERT a")
			synctest.Wait()
			test.end()
			_, err := p.Await(t.Context())
			require.ErrorIs(t, err, test.err)
			assert.Equal(t, test.state, p.State())
		}
		release()
		assert.Equal(t, []string{"INSERT plug []"}, f.stored())
	})
}

func TestAPromiseThatNobodyAwaitsSettles(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		for i := range 20 {
			Go(t.Context(), db, fmt.Sprintf("INSERT %d", i))
		}
		synctest.Wait()
		assert.Len(t, f.stored(), 20)
	})
}

func TestCloseWaitsForThePromisesThatWereMade(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		require.NoError(t, db.Ping())
		ps := []*Promise{Go(t.Context(), db, "INSERT a"), Go(t.Context(), db, "INSERT b"), Go(t.Context(), db, "CREATE TABLE t")}
		require.NoError(t, db.Close())
		for _, p := range ps {
			assert.Equal(t, durable.Resolved, p.State(), "not answered when Close returned")
			_, err := p.Await(t.Context())
			assert.NoError(t, err)
		}
	})
}

func TestAPromiseOfAClosedDatabaseIsRejected(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		require.NoError(t, db.Ping())
		require.NoError(t, db.Close())
		for _, query := range []string{"INSERT a", "CREATE TABLE t"} {
			p := Go(t.Context(), db, query)
			_, err := p.Await(t.Context())
			require.ErrorContains(t, err, "database is closed")
			assert.Equal(t, durable.Rejected, p.State())
		}
	})
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) { // that nobody has used
		require.NoError(t, db.Close())
		_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		assert.Zero(t, f.count("open"))
	})
}

func TestAStatementThatCannotJoinAGroupIsAPromiseToo(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		for _, p := range []*Promise{
			Go(t.Context(), db, "CREATE TABLE t (?)", 1),
			Go(NoBatch(t.Context()), db, "INSERT a"),
		} {
			res, err := p.Await(t.Context()) // beside the group that is running
			require.NoError(t, err)
			assert.NotNil(t, res)
			assert.Equal(t, durable.Resolved, p.State())
		}
		_, err := Go(t.Context(), db, "CREATE FAIL").Await(t.Context())
		assert.Equal(t, errFake, err)
		release()
	})
}

func TestWhatTheArgumentsOfAPromiseAreIsItsOwnMatter(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		plain := newFake().plain(t)
		for _, args := range [][]any{
			{make(chan int)}, {1, struct{}{}}, {sql.Named("a", make(chan int))}, {sql.Named("1", 1)}, {brokenValuer{errFake}}, {uint64(1 << 63)},
			{sql.Named("", 1)}, {sql.Named("a", 1)}, {sql.Out{}}, {words("x"), nil},
		} {
			want := ofExec(plain.Exec("INSERT ?", args...))
			assert.Equal(t, want, ofExec(Go(t.Context(), db, "INSERT ?", args...).Await(t.Context())), args)
		}
	})
}

func TestAValuerThatPanicsRejectsItsPromise(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		boom := errors.New("boom")
		p := Go(t.Context(), db, "INSERT ?", panicker{func() { panic(boom) }})
		_, err := p.Await(t.Context())
		var panicked *PanicError
		require.ErrorAs(t, err, &panicked)
		require.ErrorIs(t, err, boom)
		assert.NotEmpty(t, panicked.Stack)
		assert.Equal(t, durable.Rejected, p.State())
		_, err = Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.NoError(t, err)
	})
}

// The goroutine in which a promise's call runs is not the program's, which could recover nothing there.
func TestAHookThatPanicsWhileAConnectionIsOpenedRejectsThePromise(t *testing.T) {
	for _, query := range []string{"INSERT a", "CREATE TABLE t (x)"} {
		kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
			require.NoError(t, db.Ping())
			f.restart()
			f.fail = func(op, _ string) error {
				if op == "open" {
					panic("hook")
				}
				return nil
			}
			_, err := Go(t.Context(), db, query).Await(t.Context())
			var panicked *PanicError
			require.ErrorAs(t, err, &panicked)
			require.Equal(t, "hook", panicked.Value)
			f.fail = nil
			_, err = Go(t.Context(), db, query).Await(t.Context())
			require.NoError(t, err)
		})
	}
}

func TestAValuerThatEndsItsGoroutineRejectsItsPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFake().db(t)
		p := Go(t.Context(), db, "CREATE TABLE t (?)", panicker{runtime.Goexit})
		synctest.Wait()
		assert.Equal(t, durable.Rejected, p.State())
	})
}

// db.ExecContext tries a connection that turns out to be bad again, on another one. A promise is what it would return.
func TestAPromiseSurvivesABadConnectionAsExecDoes(t *testing.T) {
	for failures := range 3 {
		kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
			require.NoError(t, db.Ping())
			f.on("exec", "INSERT", failures, driver.ErrBadConn)
			_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
			require.NoError(t, err, "%d bad connections", failures)
			assert.Equal(t, []string{"INSERT a []"}, f.stored())
		})
	}
}

func TestAPromiseOfAGroupWhoseCommitIsLostIsUnknown(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		f.on("commit", "", 1, driver.ErrBadConn)
		ps := []*Promise{Go(t.Context(), db, "INSERT a"), Go(t.Context(), db, "INSERT b")}
		synctest.Wait()
		release()
		for _, p := range ps {
			_, err := p.Await(t.Context())
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, err, &unknown)
			require.NotErrorIs(t, err, driver.ErrBadConn)
			assert.Equal(t, durable.Rejected, p.State())
		}
	})
}

func TestGoKeepsTheOrderOfOneGoroutine(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		want := []string{"INSERT plug []"}
		for i := range 30 {
			Go(t.Context(), db, fmt.Sprintf("INSERT %d", i))
			want = append(want, fmt.Sprintf("INSERT %d []", i))
		}
		synctest.Wait()
		release()
		synctest.Wait()
		assert.Equal(t, want, f.stored())
	})
}

func TestGoWaitsForRoomOnlyWhenTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t, WithEngine(checking{}), MaxQueue(2))
		release := occupy(t, f, db)
		Go(t.Context(), db, "INSERT 1")
		Go(t.Context(), db, "INSERT 2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		p := Go(ctx, db, "INSERT 3")
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, durable.RejectedTimedout, p.State())
		release()
		synctest.Wait()
		assert.Equal(t, "INSERT plug [],INSERT 1 [],INSERT 2 []", strings.Join(f.stored(), ","))
	})
}

func TestManyMayAwaitOnePromise(t *testing.T) {
	kinds(t, func(t *testing.T, f *fake, db *sql.DB) {
		release := occupy(t, f, db)
		p := Go(t.Context(), db, "INSERT a")
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := p.Await(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, durable.Resolved, p.State())
			})
		}
		synctest.Wait()
		release()
		all.Wait()
	})
}
