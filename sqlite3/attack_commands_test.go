package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// Probes of an attack on commands. A red one is a bug that is proved.

type cmd struct{ N int }
type cmdB struct{ N int }

var errOops = errors.New("oops")

func attackDB(t *testing.T, opts ...groupcommit.Option) (db *sql.DB, again func() *sql.DB) {
	t.Helper()
	name := fmt.Sprintf("sqlite3-attack-%d", driverNames.Add(1))
	groupcommit.Register(name, &mattn.SQLiteDriver{}, append([]groupcommit.Option{groupcommit.Promises()}, opts...)...)
	dsn := "file:" + filepath.Join(t.TempDir(), "a.db") + "?_journal=WAL&_sync=OFF"
	again = func() *sql.DB {
		db, err := sql.Open(name, dsn)
		require.NoError(t, err)
		t.Cleanup(func() {
			closed := make(chan struct{})
			go func() { db.Close(); close(closed) }()
			select {
			case <-closed:
			case <-time.After(15 * time.Second):
				t.Error("db.Close hangs")
			}
		})
		return db
	}
	db = again()
	exec(t, db, "CREATE TABLE e (n INTEGER)")
	exec(t, db, "CREATE TABLE u (n INTEGER UNIQUE)")
	return db, again
}

func countOf(t *testing.T, db *sql.DB, q string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(q, args...).Scan(&n))
	return n
}

type handlerOf = groupcommit.Handler[cmd, int]
type commandOf = groupcommit.Command[cmd, int]

func mustHandle(t *testing.T, db *sql.DB, h handlerOf, opts ...groupcommit.Option) *groupcommit.Commands[cmd, int] {
	t.Helper()
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(t, err)
	return cs
}

// inOneBatch hands in n commands as one batch: 0..n-1, ids "id k" if ids.
func inOneBatch(t *testing.T, db *sql.DB, h handlerOf, n int, ids bool, opts ...groupcommit.Option) []*groupcommit.PromiseOf[int] {
	t.Helper()
	there, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		if b[0].Value.N == -1 {
			once.Do(func() { close(there); <-open })
			return nil
		}
		return h(ctx, tx, b)
	}, opts...)
	cs.Go(background, "", cmd{-1})
	<-there
	var ps []*groupcommit.PromiseOf[int]
	for i := range n {
		id := ""
		if ids {
			id = fmt.Sprint("id ", i)
		}
		ps = append(ps, cs.Go(background, id, cmd{i}))
	}
	require.Eventually(t, func() bool { return cs.Stats().Queued == n }, 5*time.Second, time.Millisecond)
	close(open)
	return ps
}

func within(t *testing.T, p *groupcommit.PromiseOf[int], d time.Duration) (int, error) {
	t.Helper()
	select {
	case <-p.Done():
		return p.Await(background)
	case <-time.After(d):
		t.Fatalf("no answer in %v", d)
		return 0, nil
	}
}

func TestAttackTryThatFailsTwiceForOneCommand(t *testing.T) {
	db, _ := attackDB(t)
	ps := inOneBatch(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b {
			for range 2 { // two stages
				if err := c.Try(func() (int, error) {
					if c.Value.N == 0 {
						return 0, errOops
					}
					return 1, nil
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}, 2, false, groupcommit.Retry(groupcommit.Never))
	_, err := within(t, ps[1], 3*time.Second)
	require.NoError(t, err)
	_, err = within(t, ps[0], 3*time.Second)
	require.ErrorIs(t, err, errOops)
}

func TestAttackTwoStagesCommitTheSecondTwice(t *testing.T) {
	db, _ := attackDB(t)
	var failed atomic.Bool
	ps := inOneBatch(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				if c.Value.N == 0 && !failed.Swap(true) {
					return 0, errOops // once
				}
				return 1, nil
			}); err != nil {
				return err
			}
			if err := c.Try(func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (?)", c.Value.N)
				return 2, err
			}); err != nil {
				return err
			}
		}
		return nil
	}, 2, true)
	for _, p := range ps {
		_, err := within(t, p, 3*time.Second)
		require.NoError(t, err)
	}
	require.Equal(t, 1, countOf(t, db, "SELECT count(*) FROM e WHERE n = 0"), "effects of the command that was put aside")
}

func TestAttackTwoStagesResolveWhatWasRejected(t *testing.T) {
	db, _ := attackDB(t)
	exec(t, db, "INSERT INTO u VALUES (0)")
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO u VALUES (?)", c.Value.N)
				return 1, err
			}); err != nil {
				return err
			}
			if err := c.Try(func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (?)", c.Value.N)
				return 2, err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := within(t, cs.Go(background, "x", cmd{0}), 3*time.Second)
	require.Error(t, err, "its first part was undone")
}

func TestAttackTryWhoseErrorIsIgnored(t *testing.T) {
	db, _ := attackDB(t)
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b {
			c.Try(func() (int, error) {
				tx.ExecContext(ctx, "INSERT INTO e VALUES (?)", c.Value.N)
				return 1, errOops
			})
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	r, err := within(t, cs.Go(background, "x", cmd{0}), 3*time.Second)
	require.ErrorIs(t, err, errOops, "result %v", r)
}

func TestAttackNestedTry(t *testing.T) {
	db, _ := attackDB(t)
	ps := inOneBatch(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		if len(b) == 1 {
			return errOops
		}
		return b[0].Try(func() (int, error) {
			if err := b[1].Try(func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (1)")
				return 7, err
			}); err != nil {
				return 0, err
			}
			return 0, errOops
		})
	}, 2, true, groupcommit.Retry(groupcommit.Never))
	_, err := within(t, ps[1], 3*time.Second)
	n := countOf(t, db, "SELECT count(*) FROM e")
	require.Equal(t, err == nil, n == 1, "resolved: %v, rows: %d", err == nil, n)
}

func TestAttackTwoValuesOfOneDurableID(t *testing.T) {
	db, _ := attackDB(t)
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error { return nil }, groupcommit.Durable())
	winners, rounds := 0, 40
	for i := range rounds {
		id := fmt.Sprint("id ", i)
		var done sync.WaitGroup
		var won atomic.Int32
		call := func(k int) {
			ctx, cancel := context.WithTimeout(background, 5*time.Second)
			defer cancel()
			_, err := cs.Go(background, id, cmd{k}).Await(ctx)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, groupcommit.ErrMismatch) {
				t.Log(err)
			}
		}
		tx, err := db.Begin() // who comes first waits for the writer, and the others join its group
		require.NoError(t, err)
		_, err = tx.Exec("INSERT INTO e VALUES (1)")
		require.NoError(t, err)
		for k := range 20 {
			done.Go(func() { call(k) })
			if k == 0 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		time.Sleep(2 * time.Millisecond)
		require.NoError(t, tx.Commit())
		done.Wait()
		winners += int(won.Load())
	}
	time.Sleep(3 * time.Second)
	stuck := countOf(t, db, "SELECT count(*) FROM groupcommit_promises WHERE state = 0")
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	defer cancel()
	t.Logf("%d of %d ids had a caller who got no error; pending, leased, and handled by nobody: %d; Recover: %v", winners, rounds, stuck, cs.Recover(ctx))
	require.Equal(t, rounds, winners)
	require.Zero(t, stuck)
}

func TestAttackTimeoutOfAnotherHandlersOption(t *testing.T) {
	db, again := attackDB(t)
	a := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { return errOops }, groupcommit.Durable(), groupcommit.Timeout(300*time.Millisecond),
		groupcommit.Retry(groupcommit.Constant(time.Hour, 1)))
	a.Go(background, "x", cmd{1})
	require.NoError(t, db.Close()) // leaves it pending
	time.Sleep(400 * time.Millisecond)
	db = again()
	b := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { return nil }, groupcommit.Durable())
	p := b.Go(background, "x", cmd{1})
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	defer cancel()
	errR := b.Recover(ctx)
	t.Logf("Recover: %v; state of the promise %v", errR, p.State())
	require.NoError(t, errR)
	_, err := within(t, p, 3*time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAttackStateCanceledThoughCommitted(t *testing.T) {
	db, _ := attackDB(t)
	ctx, cancel := context.WithCancel(background)
	cs := mustHandle(t, db, func(hctx context.Context, tx *sql.Tx, b []*commandOf) error {
		tx.ExecContext(hctx, "INSERT INTO e VALUES (1)")
		cancel() // the caller loses patience
		b[0].Reject(fmt.Errorf("mail server: %w", context.Canceled))
		return nil
	})
	p := cs.Go(ctx, "x", cmd{1})
	_, err := within(t, p, 3*time.Second)
	t.Log(err)
	require.Equal(t, 1, countOf(t, db, "SELECT count(*) FROM e"))
	require.Equal(t, durable.Rejected, p.State(), "REJECTED_CANCELED is certainly not executed")
}

func TestAttackStateOfAnAttachedOne(t *testing.T) {
	db, _ := attackDB(t)
	in, out := make(chan struct{}), make(chan struct{})
	cs := mustHandle(t, db, func(hctx context.Context, tx *sql.Tx, b []*commandOf) error {
		close(in)
		<-out
		_, err := tx.ExecContext(hctx, "INSERT INTO e VALUES (1)")
		return err
	})
	first := cs.Go(background, "x", cmd{1})
	<-in
	ctx, cancel := context.WithCancel(background)
	p := cs.Go(ctx, "x", cmd{1})
	cancel()
	<-p.Done()
	close(out)
	within(t, first, 3*time.Second)
	require.Equal(t, 1, countOf(t, db, "SELECT count(*) FROM e"))
	require.NotEqual(t, durable.RejectedCanceled, p.State(), "REJECTED_CANCELED is certainly not executed")
}

func TestAttackSwallowedRollback(t *testing.T) {
	db, _ := attackDB(t)
	exec(t, db, "INSERT INTO u VALUES (1)")
	tries := 0
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		tries++
		tx.ExecContext(ctx, "INSERT OR ROLLBACK INTO u VALUES (1)") // swallowed
		if _, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (1)"); err != nil {
			return err
		}
		return errOops
	}, groupcommit.Retry(groupcommit.Constant(0, 3)))
	_, err := within(t, cs.Go(background, "", cmd{1}), 5*time.Second)
	require.ErrorIs(t, err, errOops)
	require.Zero(t, countOf(t, db, "SELECT count(*) FROM e"), "of a batch that failed %d times", tries)
}

func TestAttackSwallowedRollbackInEach(t *testing.T) {
	db, _ := attackDB(t)
	exec(t, db, "INSERT INTO u VALUES (1)")
	cs := mustHandle(t, db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, c cmd) (int, error) {
		tx.ExecContext(ctx, "INSERT OR ROLLBACK INTO u VALUES (1)") // "it is there already: fine"
		_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (1)")
		return 1, err
	}), groupcommit.Retry(groupcommit.Constant(0, 3)))
	_, err := within(t, cs.Go(background, "", cmd{1}), 5*time.Second)
	t.Log(err)
	require.LessOrEqual(t, countOf(t, db, "SELECT count(*) FROM e"), 1)
}

func TestAttackPausesKeepEverybodyOut(t *testing.T) {
	db, _ := attackDB(t)
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		if b[0].Value.N < 0 {
			return errOops
		}
		return nil
	}, groupcommit.MaxLen(1), groupcommit.Retry(groupcommit.Constant(time.Minute, 1)))
	for range 17 {
		cs.Go(background, "", cmd{-1})
	}
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	p := cs.Go(background, "", cmd{1})
	_, err := within(t, p, 14*time.Second)
	require.NoError(t, err, "after %v", time.Since(start))
}

func TestAttackRejectNilAfterReturn(t *testing.T) {
	db, _ := attackDB(t)
	var kept *commandOf
	cs := mustHandle(t, db, func(_ context.Context, _ *sql.Tx, b []*commandOf) error { kept = b[0]; return nil })
	_, err := within(t, cs.Go(background, "", cmd{1}), 5*time.Second)
	require.NoError(t, err)
	require.NotPanics(t, func() { kept.Reject(nil) })
}

func TestAttackCloseInAHandler(t *testing.T) {
	db, _ := attackDB(t)
	cs := mustHandle(t, db, func(_ context.Context, _ *sql.Tx, b []*commandOf) error { db.Close(); return nil })
	within(t, cs.Go(background, "", cmd{1}), 12*time.Second)
}

func TestAttackEightCallers(t *testing.T) {
	db, _ := attackDB(t)
	batches := 0
	cs := mustHandle(t, db, func(_ context.Context, _ *sql.Tx, b []*commandOf) error {
		batches++
		time.Sleep(50 * time.Millisecond)
		return nil
	})
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 20 {
				cs.Do(background, "", cmd{1})
			}
		})
	}
	done.Wait()
	t.Log(batches)
	require.LessOrEqual(t, batches, 45)
}

// The window of adopt: the command of a row that was just taken is not handed in, because a flight with its id is up.
func TestAttackTakenWhileAnotherValueIsAsked(t *testing.T) {
	db, again := attackDB(t)
	stuck := 0
	for round := range 30 {
		now := time.Now()
		for i := range 20 {
			exec(t, db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at) VALUES (?, 0, ?, 'sqlite3_test.cmd', ?, ?)",
				fmt.Sprintf("id %d %d", round, i), []byte("key"), []byte(`{"N":1}`), now.UnixMilli())
		}
		db2 := again()
		cs, err := groupcommit.Handle(db2, func(context.Context, *sql.Tx, []*commandOf) error { return nil }, groupcommit.Durable())
		require.NoError(t, err)
		var done sync.WaitGroup
		for i := range 20 {
			done.Go(func() {
				ctx, cancel := context.WithTimeout(background, 5*time.Second)
				defer cancel()
				_, err := cs.Go(background, fmt.Sprintf("id %d %d", round, i), cmd{2}).Await(ctx)
				if !errors.Is(err, groupcommit.ErrMismatch) {
					t.Error(err)
				}
			})
		}
		done.Wait()
		ctx, cancel := context.WithTimeout(background, 2*time.Second)
		if err := cs.Recover(ctx); err != nil {
			n := countOf(t, db, "SELECT count(*) FROM groupcommit_promises WHERE state = 0")
			t.Errorf("round %d: Recover: %v; %d are pending", round, err, n)
			stuck += n
		}
		cancel()
		db2.Close()
		if stuck > 0 {
			break
		}
	}
	require.Zero(t, stuck)
}

func TestAttackPendingErrorHasNoID(t *testing.T) {
	db, _ := attackDB(t)
	first := make(chan struct{})
	got := make(chan *sql.Tx, 1)
	var once sync.Once
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		once.Do(func() {
			go func() {
				tx, err := db.Begin()
				if err == nil {
					_, err = tx.Exec("INSERT INTO e VALUES (1)")
				}
				if err != nil {
					t.Error(err)
				}
				got <- tx
			}()
			time.Sleep(200 * time.Millisecond) // it is next
			close(first)
		})
		return nil
	}, groupcommit.Durable(), groupcommit.MaxLen(1))
	tx0, err := db.Begin()
	require.NoError(t, err)
	_, err = tx0.Exec("INSERT INTO e VALUES (0)")
	require.NoError(t, err)
	var ps [4]*groupcommit.PromiseOf[int]
	var done sync.WaitGroup
	for i := range ps {
		done.Go(func() { ps[i] = cs.Go(background, fmt.Sprint("id ", i), cmd{i}) })
	}
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, tx0.Commit()) // all are recorded in one group
	<-first
	tx := <-got
	closed := make(chan struct{})
	done.Wait()
	go func() { db.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("Close hangs")
	}
	tx.Rollback()
	for i, p := range ps {
		_, err := within(t, p, 3*time.Second)
		var pending *groupcommit.PendingError
		if errors.As(err, &pending) {
			t.Log(i, err)
			require.NotEmpty(t, pending.ID, "%v", err)
		}
	}
}
