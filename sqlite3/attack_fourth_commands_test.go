package sqlite3_test

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/require"
)

// One statement for all, and then Try for each: what was put aside is in the batch's commit, and again in its own.
func TestAttackOneStatementForAllAndTry(t *testing.T) {
	db, _ := attackDB(t)
	var failed atomic.Bool
	ps := inOneBatch(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b { // or as one statement
			if _, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (?)", c.Value.N); err != nil {
				return err
			}
		}
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				if c.Value.N == 0 && !failed.Swap(true) {
					return 0, errOops // once
				}
				return 1, nil
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
	require.Equal(t, 1, countOf(t, db, "SELECT count(*) FROM e WHERE n = 0"), "effects of one command that was resolved once")
}

func TestAttackTimedOutLongAgo(t *testing.T) {
	db, again := attackDB(t, groupcommit.Retention(time.Hour))
	long := time.Now().Add(-2 * time.Hour)
	exec(t, db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at, timeout) VALUES ('x', 0, 'k', 'sqlite3_test.cmd', ?, ?, ?)", []byte(`{"N":1}`), long.UnixMilli(), long.UnixMilli()+1)
	db2 := again()
	cs := mustHandle(t, db2, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error { return nil }, groupcommit.Durable(), groupcommit.Timeout(time.Hour))
	require.NoError(t, cs.Recover(background))
	p, err := groupcommit.Lookup(background, db2, "x")
	require.NoError(t, err)
	require.Equal(t, durable.RejectedTimedout, p.State)
	t.Log(p.Completed)
}

// Do the batches of one type come one after the other, as Handle says?
func TestAttackHandlersOfOneTypeAtOnce(t *testing.T) {
	db, _ := attackDB(t)
	var now, most atomic.Int32
	cs := mustHandle(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if b[0].Value.N%2 == 0 {
			return errOops
		}
		return nil
	}, groupcommit.MaxLen(2), groupcommit.Retry(groupcommit.Constant(time.Millisecond, 3)))
	var done sync.WaitGroup
	for i := range 40 {
		done.Go(func() { cs.Do(background, "", cmd{i}) })
	}
	done.Wait()
	require.EqualValues(t, 1, most.Load())
}
