package enginetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

var commandFailStories = []story{
	{"AHandlersErrorReachesEveryCallerAsItIs", handlersError},
	{"AHandlersDriverErrorReachesEveryCallerAsItIs", handlersDriverError},
	{"AHandlersPanicIsRetriedAndThenEverybodysError", handlersPanic},
	{"AHandlerThatEndsItsGoroutineRejects", handlersGoexit},
	{"AFailedBatchComesAgainAsItWas", failedBatchComesAgain},
	{"OtherBatchesGoOnWhileAFailedOneWaits", othersGoOn},
	{"NothingOfAFailedBatchIsLeft", nothingIsLeft},
	{"AHandlerThatEndsItsTransactionRejects", handlerCommits},
	{"AnAttemptKnowsNothingOfTheOneBefore", attemptsForget},
	{"ManyFailingBatchesKeepNobodyOut", failingBatches},
	{"AnErrorOfTheHandlersIsNotTheCallersContexts", handlersContextError},
}

func handlersError(s *scene) {
	var tries atomic.Int32
	g := s.newGate()
	cs := handle(s, s.db, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		if batch[0].Value.N < 0 {
			return nil
		}
		tries.Add(1)
		return errBusiness
	}, groupcommit.Retry(groupcommit.Constant(time.Millisecond, 3)))
	for _, p := range oneBatch(s, g, cs, "", 1, 2) {
		_, err := p.Await(background)
		require.Same(s, errBusiness, err)
	}
	require.EqualValues(s, 4, tries.Load(), "once, and three times again")
}

func handlersDriverError(s *scene) {
	plain := s.twin()
	s.exec(plain, "INSERT INTO items (name, n) VALUES ('a', 1)")
	_, want := plain.Exec(s.insert(), "a", 2)
	s.exec(s.db, "INSERT INTO items (name, n) VALUES ('a', 1)")
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		_, err := tx.ExecContext(ctx, s.insert(), "a", 2)
		return err
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", put{1})
	s.sameError(want, err)
}

func handlersPanic(s *scene) {
	tries := 0
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		tries++
		if err := s.putInto(tx, ctx, batch[0].Value.N); err != nil {
			return err
		}
		panic(errBusiness)
	}, groupcommit.Retry(groupcommit.Constant(0, 1)))
	_, err := cs.Do(background, "", put{1})
	var p *groupcommit.PanicError
	require.ErrorAs(s, err, &p)
	require.ErrorIs(s, err, errBusiness)
	require.Contains(s, string(p.Stack), "handlersPanic")
	require.Equal(s, 2, tries)
	require.Empty(s, s.entries(s.db))
}

func handlersGoexit(s *scene) {
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		if batch[0].Value.N == 1 {
			s.putInto(tx, ctx, 1)
			goexit()
		}
		return s.putInto(tx, ctx, batch[0].Value.N)
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", put{1})
	require.ErrorContains(s, err, "runtime.Goexit")
	_, err = cs.Do(background, "", put{2})
	require.NoError(s, err)
	require.Equal(s, []string{"2"}, s.entries(s.db))
}

func failedBatchComesAgain(s *scene) {
	g := s.newGate()
	var batches [][]int
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		var ns []int
		for _, c := range batch {
			ns = append(ns, c.Value.N)
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			c.Resolve(len(batches))
		}
		batches = append(batches, ns)
		if len(batches) == 2 || len(batches) == 3 {
			return errBusiness
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(0, 5)))
	for _, p := range oneBatch(s, g, cs, "", 1, 2) {
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Equal(s, 3, r)
	}
	require.Equal(s, [][]int{{-1}, {1, 2}, {1, 2}, {1, 2}}, batches)
	require.Equal(s, []string{"-1", "1", "2"}, s.entries(s.db))
}

func othersGoOn(s *scene) {
	db := s.openWith()
	failed := make(chan struct{})
	g := s.newGate()
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		if batch[0].Value.N == 1 {
			close(failed)
			return errBusiness
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(24*time.Hour, 1)))
	promises := oneBatch(s, g, cs, "", 1, 2)
	bounded.Receive(s, "a batch has failed", failed)
	for i := range 5 {
		_, err := cs.Do(background, "", put{3 + i})
		require.NoError(s, err)
	}
	require.Equal(s, durable.Pending, promises[0].State())
	require.NoError(s, db.Close()) // which does not wait for a day
	for _, p := range promises {
		_, err := p.Await(background)
		require.Same(s, errBusiness, err)
	}
}

// nothingIsLeft tells the fault of the article's example: a later batch committed a row that a failed batch had left.
func nothingIsLeft(s *scene) {
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		for _, c := range batch {
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			if c.Value.N == 2 {
				return errBusiness
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", put{2})
	require.Same(s, errBusiness, err)
	_, err = cs.Do(background, "", put{9})
	require.NoError(s, err)
	require.Equal(s, []string{"9"}, s.entries(s.db))
}

func handlerCommits(s *scene) {
	for _, how := range []func(tx *sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback, func(tx *sql.Tx) error {
		_, err := tx.Exec("COMMIT")
		return err
	}} {
		db := s.openWith()
		tries := 0
		cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
			if batch[0].Value.N == 1 {
				return nil
			}
			tries++
			if err := s.putInto(tx, ctx, 7); err != nil {
				return err
			}
			return how(tx)
		})
		_, err := cs.Do(background, "", put{0})
		require.ErrorContains(s, err, "a handler must not end its transaction")
		require.Equal(s, 1, tries)
		_, err = cs.Do(background, "", put{1})
		require.NoError(s, err)
		require.Empty(s, s.entries(db))
	}
}

func attemptsForget(s *scene) {
	g := s.newGate()
	tries := 0
	cs := handle(s, s.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		if batch[0].Value.N < 0 {
			return nil
		}
		if tries++; tries == 1 {
			batch[0].Resolve(7)
			batch[1].Reject(errBusiness)
			return errors.New("a failure")
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(0, 1)))
	for _, p := range oneBatch(s, g, cs, "", 1, 2) {
		r, err := p.Await(background)
		require.NoError(s, err)
		require.Zero(s, r)
	}
	require.Equal(s, 2, tries)
}

func failingBatches(s *scene) {
	db := s.openWith()
	cs := handle(s, db, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		if batch[0].Value.N < 0 {
			return errBusiness
		}
		return nil
	}, groupcommit.MaxLen(1), groupcommit.MaxQueue(100), groupcommit.Retry(groupcommit.Constant(24*time.Hour, 1)))
	var failing []*groupcommit.PromiseOf[int]
	for range 60 {
		failing = append(failing, cs.Go(background, "", put{-1}))
	}
	_, err := cs.Do(background, "", put{1})
	require.NoError(s, err)
	require.NoError(s, db.Close())
	for _, p := range failing {
		_, err := p.Await(background)
		require.Same(s, errBusiness, err)
	}
}

func handlersContextError(s *scene) {
	g := s.newGate()
	cs := handle(s, s.db, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		g.pass()
		batch[0].Reject(fmt.Errorf("a service was slow: %w", context.Canceled))
		return nil
	})
	ctx, cancel := context.WithCancel(background)
	p := cs.Go(ctx, "", put{1})
	s.reached(g)
	cancel()
	g.open()
	bounded.Receive(s, "the command is answered", p.Done())
	require.Equal(s, durable.Rejected, p.State(), "it was carried out")
}
