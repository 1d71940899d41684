package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Probes of an attack on commands. A red one is a bug that is proved.

var errOops = errors.New("oops")

type entries = []*groupcommit.Command[entry, int]

func answered(t *testing.T, p *groupcommit.PromiseOf[int], d time.Duration) (int, error) {
	t.Helper()
	select {
	case <-p.Done():
		return p.Await(background)
	case <-time.After(d):
		t.Fatalf("no answer in %v", d)
		return 0, nil
	}
}

func TestAttackAHandlersOwnCommitIsRecordedAsResolved(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		b[0].Reject(errOops)
		return tx.Commit()
	}, groupcommit.Retry(groupcommit.Never))
	_, err := answered(t, cs.Go(background, "x", entry{1}), 10*time.Second)
	t.Log(err)
	require.ErrorContains(t, err, "are not recorded")
	_, err = groupcommit.Lookup(background, r.db, "x")
	require.ErrorIs(t, err, durable.ErrNotFound, "it says that it is not recorded")
}

func TestAttackGoInAHandler(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	var inner *groupcommit.PromiseOf[int]
	var cs *groupcommit.Commands[entry, int]
	cs = handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		if b[0].Value.K == 1 {
			inner = cs.Go(ctx, "", entry{2})
		}
		return nil
	})
	_, err := answered(t, cs.Go(background, "", entry{1}), 10*time.Second)
	require.NoError(t, err)
	_, err = answered(t, inner, 10*time.Second)
	require.NoError(t, err, "the library's own advice is to hand it over with Go")
}

func TestAttackADurableGoOutlastsItsContext(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	open := make(chan struct{})
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { <-open; return nil },
		groupcommit.Durable(), groupcommit.MaxLen(1), groupcommit.MaxQueue(1))
	for i := range 2 {
		cs.Go(background, fmt.Sprint(i), entry{i})
	}
	r.eventually("one waits", func() bool { return cs.Stats().Queued == 1 })
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	returned := make(chan struct{})
	go func() { cs.Go(ctx, "late", entry{3}); close(returned) }()
	defer close(open)
	select {
	case <-returned:
	case <-time.After(3 * time.Second):
		_, err := groupcommit.Lookup(background, r.db, "late")
		t.Fatalf("Go is recorded (%v), and has not returned 3 s after its context ended", err)
	}
}

func TestAttackARecordWhoseAckIsLostIsNobodys(t *testing.T) {
	r, p := promised(t)
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { return nil }, groupcommit.Durable(), groupcommit.Lease(time.Second))
	_, err := cs.Do(background, "warm", entry{0})
	require.NoError(t, err)
	var once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit && once.CompareAndSwap(false, true) {
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	// A group of several, so that it has a COMMIT of its own.
	var ps [8]*groupcommit.PromiseOf[int]
	var done sync.WaitGroup
	for i := range ps {
		done.Go(func() { ps[i] = cs.Go(background, fmt.Sprint("x ", i), entry{i}) })
	}
	done.Wait()
	for i, p := range ps {
		_, err := answered(t, p, 10*time.Second)
		if err != nil {
			t.Log(i, err)
		}
	}
	ctx, cancel := context.WithTimeout(background, 5*time.Second)
	defer cancel()
	err = cs.Recover(ctx)
	t.Log("pending: ", r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
	require.NoError(t, err, "Recover, with leases of a second")
}

// The same with a lone INSERT whose caller's context ends while it waits.
func TestAttackARecordWhoseContextEnds(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { return nil }, groupcommit.Durable(), groupcommit.Lease(time.Second))
	var failed, stuck int
	for i := range 400 {
		ctx, cancel := context.WithTimeout(background, time.Duration(i*10)*time.Microsecond)
		p := cs.Go(ctx, fmt.Sprint("x ", i), entry{i})
		if _, err := answered(t, p, 5*time.Second); err != nil {
			failed++
		}
		cancel()
	}
	time.Sleep(3 * time.Second) // three leases
	fmt.Sscan(r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0"), &stuck)
	t.Logf("%d got an error; %d are recorded and handled by nobody", failed, stuck)
	require.Zero(t, stuck)
}

func TestAttackATempTableInAHandlerKeepsTheConnection(t *testing.T) {
	r := setUp(t, groupcommit.Promises(), groupcommit.Physical(func(pool *sql.DB) { pool.SetMaxOpenConns(1) }))
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		_, err := tx.ExecContext(ctx, "CREATE TEMP TABLE mine (a int) ON COMMIT DROP")
		return err
	})
	_, err := answered(t, cs.Go(background, "", entry{1}), 10*time.Second)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	defer cancel()
	var n int
	require.NoError(t, r.db.QueryRowContext(ctx, "SELECT 1").Scan(&n))
}

func TestAttackNestedTryKeepsTheErrorsType(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		return b[0].Try(func() (int, error) {
			return 0, b[0].Try(func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO rows (k) VALUES (NULL)")
				return 0, err
			})
		})
	}, groupcommit.Retry(groupcommit.Never))
	_, err := answered(t, cs.Go(background, "", entry{1}), 10*time.Second)
	_, ok := err.(*pgconn.PgError)
	require.True(t, ok, "%T", err)
}

func TestAttackAnIgnoredTryCommitsTheHalf(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		for _, c := range b {
			c.Try(func() (int, error) {
				if _, err := tx.ExecContext(ctx, "INSERT INTO log (k) VALUES (1)"); err != nil {
					return 0, err
				}
				return 0, errOops
			})
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	_, err := answered(t, cs.Go(background, "x", entry{1}), 10*time.Second)
	require.ErrorIs(t, err, errOops, "rows left: %s", r.value("SELECT count(*) FROM log"))
}

func TestAttackTwoValuesOfOneDurableIDOnPostgres(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error { return nil }, groupcommit.Durable())
	winners, rounds := 0, 150
	for i := range rounds {
		var done sync.WaitGroup
		var won atomic.Int32
		for k := range 20 {
			done.Go(func() {
				ctx, cancel := context.WithTimeout(background, 5*time.Second)
				defer cancel()
				if _, err := cs.Go(background, fmt.Sprint("id ", i), entry{k}).Await(ctx); err == nil {
					won.Add(1)
				}
			})
		}
		done.Wait()
		winners += int(won.Load())
	}
	time.Sleep(2 * time.Second)
	stuck := r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0")
	t.Logf("%d of %d ids had a caller who got no error; pending, leased, and handled by nobody: %s", winners, rounds, stuck)
	require.Equal(t, rounds, winners)
	require.Equal(t, "0", stuck)
}
