package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

type entryB struct{ K int }

func TestAttackStress(t *testing.T) {
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			before := runtime.NumGoroutine()
			r := setUp(t, groupcommit.Promises())
			r.exec(r.plain, "CREATE TABLE done (id TEXT)")
			r.exec(r.plain, "ALTER DATABASE "+r.value("SELECT quote_ident(current_database())")+" SET default_transaction_isolation = '"+isolation+"'")
			require.NoError(t, r.db.Close())
			name := fmt.Sprintf("pgx-attack-%d", drivers.Add(1))
			groupcommit.Register(name, r.plain.Driver(), groupcommit.Promises())
			open := func() (*sql.DB, *groupcommit.Commands[entry, int], *groupcommit.Commands[entryB, int]) {
				db := r.open(name, r.dsn)
				a := handle(t, db, func(ctx context.Context, tx *sql.Tx, b entries) error {
					for _, c := range b {
						if err := c.Try(func() (int, error) {
							if _, err := tx.ExecContext(ctx, "INSERT INTO done VALUES ($1)", c.ID()); err != nil {
								return 0, err
							}
							if rand.IntN(20) == 0 {
								return 0, errOops
							}
							return c.Value.K, nil
						}); err != nil {
							return err
						}
					}
					if rand.IntN(10) == 0 {
						return errOops
					}
					if rand.IntN(30) == 0 {
						tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
					}
					return nil
				}, groupcommit.Durable(), groupcommit.Lease(200*time.Millisecond), groupcommit.MaxLen(7), groupcommit.MaxQueue(20), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 50)))
				b, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entryB, int]) error {
					for _, c := range batch {
						if _, err := tx.ExecContext(ctx, "INSERT INTO done VALUES ($1)", c.ID()); err != nil {
							return err
						}
						if err := a.Add(ctx, tx, "of "+c.ID(), entry{c.Value.K}); err != nil {
							return err
						}
					}
					if rand.IntN(5) == 0 {
						panic("oops")
					}
					return nil
				}, groupcommit.MaxLen(7), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 50)))
				require.NoError(t, err)
				return db, a, b
			}
			db1, a1, b1 := open()
			db2, a2, b2 := open()
			var done sync.WaitGroup
			for w := range 20 {
				done.Go(func() {
					for range 15 {
						ctx, cancel := context.WithTimeout(background, time.Duration(rand.IntN(400))*time.Millisecond)
						a, b := a1, b1
						if rand.IntN(2) == 0 {
							a, b = a2, b2
						}
						n := rand.IntN(80)
						var p interface{ Done() <-chan struct{} }
						if w%2 == 0 {
							p = a.Go(ctx, fmt.Sprint("a ", n), entry{n})
							if rand.IntN(5) == 0 {
								a.Cancel(ctx, fmt.Sprint("a ", n))
							}
						} else {
							p = b.Go(ctx, fmt.Sprint("b ", n), entryB{n})
						}
						select {
						case <-p.Done():
						case <-time.After(20 * time.Second):
							t.Errorf("no answer for %d", n)
						}
						cancel()
					}
				})
			}
			time.Sleep(time.Duration(300+rand.IntN(300)) * time.Millisecond)
			db1.Close()
			done.Wait()
			ctx, cancel := context.WithTimeout(background, 15*time.Second)
			err := a2.Recover(ctx)
			cancel()
			db2.Close()
			for what, q := range map[string]string{
				"pending":                 "SELECT count(*) FROM groupcommit_promises WHERE state = 0",
				"twice":                   "SELECT count(*) FROM (SELECT id FROM done GROUP BY id HAVING count(*) > 1) x",
				"resolved without effect": "SELECT count(*) FROM groupcommit_promises p WHERE id <> '' AND state = 1 AND NOT EXISTS (SELECT 1 FROM done d WHERE d.id = p.id)",
				"effect without record":   "SELECT count(*) FROM done d WHERE NOT EXISTS (SELECT 1 FROM groupcommit_promises p WHERE d.id = p.id AND state = 1)",
			} {
				if n := r.value(q); n != "0" {
					t.Errorf("%s: %s", what, n)
				}
			}
			t.Log(r.value("SELECT string_agg(state || ': ' || n, ', ') FROM (SELECT state, count(*) n FROM groupcommit_promises GROUP BY state) x"), r.value("SELECT count(*) FROM done"))
			require.NoError(t, err)
			r.plain.Close()
			for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+3 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			}
			if n := runtime.NumGoroutine(); n > before+3 {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines, before %d\n%s", n, before, buf[:min(6000, runtime.Stack(buf, true))])
			}
		})
	}
}

// The INSERT that records a command is committed, and its answer is lost.
func TestAttackALoneRecordWhoseAnswerIsLost(t *testing.T) {
	r, p := promised(t)
	var handled atomic.Int32
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { handled.Add(1); return nil }, groupcommit.Durable(), groupcommit.Lease(time.Second))
	_, err := cs.Do(background, "warm", entry{0})
	require.NoError(t, err)
	var seen, once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if strings.Contains(m.SQL, "INSERT INTO groupcommit_promises") {
			seen.Store(true)
		}
		if seen.Load() && (m.Commit || m.Type == 'S') && once.CompareAndSwap(false, true) {
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	_, err = answered(t, cs.Go(background, "x", entry{1}), 10*time.Second)
	t.Logf("Go: %T %v; cut: %v", err, err, once.Load())
	ctx, cancel := context.WithTimeout(background, 6*time.Second)
	defer cancel()
	rerr := cs.Recover(ctx)
	t.Log("state and lease: ", r.value("SELECT state || ' ' || coalesce(lease_owner, '-') FROM groupcommit_promises WHERE id = 'x'"))
	require.NoError(t, rerr, "Recover, with leases of a second")
}

func TestAttackRecordContextEnds(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { return nil }, groupcommit.Durable(), groupcommit.Lease(time.Second))
	failed := 0
	for i := range 300 {
		ctx, cancel := context.WithTimeout(background, time.Duration(200+i*40)*time.Microsecond)
		if _, err := answered(t, cs.Go(ctx, fmt.Sprint("x ", i), entry{i}), 5*time.Second); err != nil {
			failed++
		}
		cancel()
	}
	time.Sleep(3 * time.Second) // three leases
	stuck := r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0")
	t.Logf("%d got an error; %s are recorded, leased and handled by nobody", failed, stuck)
	require.Equal(t, "0", stuck)
}

func TestAttackRowsLeftOpen(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		rows, err := tx.QueryContext(ctx, "INSERT INTO log (k) SELECT * FROM generate_series(1, 5000) RETURNING k")
		if err != nil {
			return err
		}
		rows.Next()
		b[0].Resolve(3)
		return nil
	}, groupcommit.Retry(groupcommit.Constant(0, 1)))
	_, err := answered(t, cs.Go(background, "x", entry{1}), 10*time.Second)
	t.Log(err)
	_, err = answered(t, cs.Go(background, "", entry{1}), 10*time.Second)
	t.Log(err)
	require.NoError(t, r.db.Close())
}

func TestAttackACommitThatCannotBe(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	r.exec(r.plain, "CREATE TABLE d (k int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	r.exec(r.plain, "INSERT INTO d VALUES (1)")
	tries := 0
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		tries++
		return b[0].Try(func() (int, error) {
			_, err := tx.ExecContext(ctx, "INSERT INTO d VALUES (1)")
			return 0, err
		})
	})
	start := time.Now()
	_, err := answered(t, cs.Go(background, "x", entry{1}), 20*time.Second)
	t.Log(tries, time.Since(start), err)
	require.Less(t, tries, 3, "an error that would come again rejects the command")
}

func TestAttackSwallowedError(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, e entry) (int, error) {
		tx.ExecContext(ctx, "INSERT INTO rows (k) VALUES (NULL)")
		return 1, nil
	}), groupcommit.Retry(groupcommit.Never))
	_, err := answered(t, cs.Go(background, "", entry{1}), 20*time.Second)
	t.Logf("without an id: %v", err)
	require.Error(t, err)
	var unknown *groupcommit.OutcomeUnknownError
	require.False(t, errors.As(err, &unknown), "%v", err)
	_, err = answered(t, cs.Go(background, "x", entry{1}), 20*time.Second)
	t.Logf("with an id: %v", err)
	require.Error(t, err)
}

func TestAttackFailuresInABatchOfEach(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	there, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	calls := 0
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		once.Do(func() { close(there); <-open })
		calls++
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				if c.Value.K < 40 {
					return 0, errOops // a mail server that is away
				}
				return 1, nil
			}); err != nil {
				return err
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(5*time.Second, 1)))
	cs.Go(background, "", entry{100})
	<-there
	ps := heldBatch(r, cs, func() { close(open) }, 100, func(int) string { return "" })
	start := time.Now()
	answered(t, ps[99], 30*time.Second)
	took := time.Since(start)
	t.Logf("%v, handler called %d times", took, calls)
	require.Less(t, took, 4*time.Second, "a neighbour's pause")
}

var _ = pgtest.DSN
