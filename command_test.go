package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What broke in the article's own library, and the story that it is here (of package enginetest unless it is below):
//
//	the text of a handler's error is lost             AHandlersErrorReachesEveryCallerAsItIs
//	a driver's error ends the scheduler, all hang      AHandlersDriverErrorReachesEveryCallerAsItIs
//	too few results end it, too                        WhatAHandlerDoesNotTouchIsResolvedWithTheZeroValue
//	what is settled is executed again after a restart  ASettledIDIsNotHandledAgain
//	an id with another value gets the first's result   AnIDOfAnotherValueIsAMismatch
//	what a failed batch had written is committed       NothingOfAFailedBatchIsLeft
//	a handler that ends its thread leaves all hanging  AHandlerThatEndsItsGoroutineRejects
//	callers in a closed loop get batches of one        TestCallersInAClosedLoopShareBatches

// number is a command of these tests.
type number int

// inserting is a handler that writes, after it has worked for a time.
func inserting(work time.Duration, sizes *[]int) Handler[number, int] {
	return func(ctx context.Context, tx *sql.Tx, batch []*Command[number, int]) error {
		*sizes = append(*sizes, len(batch))
		time.Sleep(work) // by the bubble's clock
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, "INSERT "+string(rune('a'+c.Value%26))); err != nil {
				return err
			}
			c.Resolve(int(c.Value))
		}
		return nil
	}
}

func TestCallersInAClosedLoopShareBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var sizes []int
		cs, err := Handle(f.db(t), inserting(50*time.Millisecond, &sizes))
		require.NoError(t, err)
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				for j := range 20 {
					r, err := cs.Do(t.Context(), "", number(20*i+j))
					assert.NoError(t, err)
					assert.Equal(t, 20*i+j, r)
				}
			})
		}
		callers.Wait()
		assert.LessOrEqual(t, len(sizes), 45, "%v", sizes)
		assert.Len(t, f.stored(), 160)
	})
}

func TestCommandsOnADriverThatNobodyKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var sizes []int
		cs, err := Handle(f.db(t), inserting(0, &sizes), Retry(Constant(time.Minute, 2)))
		require.NoError(t, err)

		f.on("begin", "", 1, errFake)
		r, err := cs.Do(t.Context(), "", 1)
		require.NoError(t, err)
		require.Equal(t, 1, r)

		f.on("exec", "INSERT b", 2, errFake)
		_, err = cs.Do(t.Context(), "", 1)
		require.NoError(t, err)

		f.on("exec", "INSERT b", 3, errFake)
		_, err = cs.Do(t.Context(), "", 1)
		require.Equal(t, errFake, err)

		f.on("commit", "", 1, errFake)
		_, err = cs.Do(t.Context(), "", 2)
		var unknown *OutcomeUnknownError
		require.ErrorAs(t, err, &unknown)
		require.Equal(t, errFake, unknown.Cause)
		require.Len(t, sizes, 1+3+3+1)
	})
}

func TestTryOnADriverThatNobodyKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cs, err := Handle(f.db(t), Each(func(ctx context.Context, tx *sql.Tx, n number) (int, error) {
			query := "INSERT INTO a VALUES (1)"
			if n == 2 {
				query = "INSERT FAIL"
			}
			_, err := tx.ExecContext(ctx, query)
			return int(n), err
		}), Retry(Constant(0, 2)))
		require.NoError(t, err)
		_, err = cs.Do(t.Context(), "", 1)
		require.NoError(t, err)
		_, err = cs.Do(t.Context(), "", 2)
		require.Same(t, errFake, err)
		f.on("rollback", "", 1, errors.New("rollback fails"))
		_, err = cs.Do(t.Context(), "", 2)
		require.Same(t, errFake, err)
		f.on("commit", "", 1, driver.ErrBadConn)
		_, err = cs.Do(t.Context(), "", 3)
		require.ErrorAs(t, err, new(*OutcomeUnknownError))
		require.NotErrorIs(t, err, driver.ErrBadConn, "database/sql would run it again")
		f.restart()
		_, err = cs.Do(t.Context(), "", 3)
		require.NoError(t, err)
		require.Len(t, f.stored(), 2)
	})
}

func TestAHandlerThatEndsItsTransactionIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tries := newFake(), 0
		cs, err := Handle(f.db(t), func(ctx context.Context, tx *sql.Tx, _ []*Command[number, int]) error {
			tries++
			tx.ExecContext(ctx, "INSERT INTO a VALUES (1)")
			tx.Commit()
			return errFake
		}, Retry(Constant(0, 3)))
		require.NoError(t, err)
		_, err = cs.Do(t.Context(), "", 1)
		require.ErrorContains(t, err, "must not end its transaction")
		require.Equal(t, 1, tries)
		require.Empty(t, f.stored())
	})
}

func TestAPolicyOrACodecThatPanicsIsItsCommandsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := f.db(t)
		cs, err := Handle(d, func(context.Context, *sql.Tx, []*Command[number, int]) error { return errFake },
			Retry(func(int) (time.Duration, bool) { panic("no policy") }))
		require.NoError(t, err)
		_, err = cs.Do(t.Context(), "", 1)
		require.Equal(t, errFake, err)
	})
}

func TestWhatIsAskedOfAHandlerAfterItHasReturnedIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var kept *Command[number, int]
		cs, err := Handle(f.db(t), func(_ context.Context, _ *sql.Tx, batch []*Command[number, int]) error {
			kept = batch[0]
			return nil
		})
		require.NoError(t, err)
		_, err = cs.Do(t.Context(), "", 1)
		require.NoError(t, err)
		err = kept.Try(func() (int, error) { return 0, errors.New("it was run") })
		require.ErrorContains(t, err, "after its handler has returned")
	})
}
