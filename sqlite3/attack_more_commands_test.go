package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/require"
)

func TestAttackCancelWhileTheBatchPauses(t *testing.T) {
	db, _ := attackDB(t)
	failed := make(chan struct{}, 10)
	cs := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { failed <- struct{}{}; return errOops },
		groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(time.Hour, 1)))
	p := cs.Go(background, "x", cmd{1})
	<-failed
	require.NoError(t, cs.Cancel(background, "x"))
	within(t, p, 3*time.Second)
	require.Equal(t, durable.RejectedCanceled, p.State())
}

func TestAttackTimeoutWhileTheBatchPauses(t *testing.T) {
	db, _ := attackDB(t)
	cs := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { return errOops },
		groupcommit.Durable(), groupcommit.Timeout(300*time.Millisecond), groupcommit.Retry(groupcommit.Constant(time.Hour, 1)))
	p := cs.Go(background, "x", cmd{1})
	within(t, p, 4*time.Second)
	require.Equal(t, durable.RejectedTimedout, p.State())
}

func TestAttackNonDurableOverAPendingRow(t *testing.T) {
	db, again := attackDB(t)
	cs := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { return errOops },
		groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(time.Hour, 1)))
	cs.Go(background, "x", cmd{1})
	db2 := again()
	cs2 := mustHandle(t, db2, func(context.Context, *sql.Tx, []*commandOf) error { return nil })
	_, err := within(t, cs2.Go(background, "x", cmd{1}), 5*time.Second)
	t.Log(err)
	require.Error(t, err)
	_, err = within(t, cs2.Go(background, "x", cmd{2}), 5*time.Second)
	require.ErrorIs(t, err, groupcommit.ErrMismatch)
}

// Everything at once, and a Close in the middle.
func TestAttackStress(t *testing.T) {
	for round := range 6 {
		before := runtime.NumGoroutine()
		func() {
			db, again := attackDB(t)
			exec(t, db, "CREATE TABLE done (id TEXT)")
			open := func() (*sql.DB, *groupcommit.Commands[cmd, int], *groupcommit.Commands[cmdB, int]) {
				db := again()
				a := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
					for _, c := range b {
						if err := c.Try(func() (int, error) {
							if _, err := tx.ExecContext(ctx, "INSERT INTO done VALUES (?)", c.ID()); err != nil {
								return 0, err
							}
							if rand.IntN(10) == 0 {
								return 0, errOops
							}
							return c.Value.N, nil
						}); err != nil {
							return err
						}
					}
					if rand.IntN(5) == 0 {
						return errOops
					}
					return nil
				}, groupcommit.Durable(), groupcommit.Lease(100*time.Millisecond), groupcommit.MaxLen(7), groupcommit.MaxQueue(20), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 20)))
				b, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[cmdB, int]) error {
					for _, c := range batch {
						if _, err := tx.ExecContext(ctx, "INSERT INTO done VALUES (?)", c.ID()); err != nil {
							return err
						}
						if err := a.Add(ctx, tx, "of "+c.ID(), cmd{c.Value.N}); err != nil {
							return err
						}
					}
					if rand.IntN(5) == 0 {
						panic("oops")
					}
					return nil
				}, groupcommit.MaxLen(7), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 20)))
				require.NoError(t, err)
				return db, a, b
			}
			db1, a1, b1 := open()
			db2, a2, b2 := open()
			var done sync.WaitGroup
			for w := range 20 {
				done.Go(func() {
					for i := range 15 {
						ctx, cancel := context.WithTimeout(background, time.Duration(rand.IntN(200))*time.Millisecond)
						a, b := a1, b1
						if rand.IntN(2) == 0 {
							a, b = a2, b2
						}
						n := rand.IntN(60)
						var p interface{ Done() <-chan struct{} }
						if w%2 == 0 {
							p = a.Go(ctx, fmt.Sprint("a ", n), cmd{n})
							if rand.IntN(5) == 0 {
								a.Cancel(ctx, fmt.Sprint("a ", n))
							}
						} else {
							p = b.Go(ctx, fmt.Sprint("b ", n), cmdB{n})
						}
						select {
						case <-p.Done():
						case <-time.After(20 * time.Second):
							t.Errorf("no answer for %d", n)
						}
						cancel()
						_ = i
					}
				})
			}
			time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond)
			db1.Close()
			done.Wait()
			ctx, cancel := context.WithTimeout(background, 10*time.Second)
			require.NoError(t, a2.Recover(ctx), "round %d", round)
			cancel()
			db2.Close()
			require.Zero(t, countOf(t, db, "SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
			require.Zero(t, countOf(t, db, "SELECT count(*) FROM (SELECT id FROM done GROUP BY id HAVING count(*) > 1)"), "twice")
			if rows, err := db.Query("SELECT quote(id), quote(kind), quote(value), quote(created_at), quote(completed_at), quote(hex(create_key)) FROM groupcommit_promises p WHERE id <> '' AND state = 1 AND NOT EXISTS (SELECT 1 FROM done d WHERE d.id = p.id)"); err == nil {
				for rows.Next() {
					var v [6]string
					rows.Scan(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5])
					t.Log(v)
				}
			}
			require.Zero(t, countOf(t, db, "SELECT count(*) FROM groupcommit_promises p WHERE id <> '' AND state = 1 AND NOT EXISTS (SELECT 1 FROM done d WHERE d.id = p.id)"), "resolved without effect")
			require.Zero(t, countOf(t, db, "SELECT count(*) FROM done d WHERE NOT EXISTS (SELECT 1 FROM groupcommit_promises p WHERE d.id = p.id AND state = 1)"), "effect without record")
			db.Close()
		}()
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	}
}

var _ = errors.New
