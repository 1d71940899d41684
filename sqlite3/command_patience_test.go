package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errNotYet = errors.New("not yet")

// A command that waits for its next attempt for longer than its lease is still this process's: the lease is renewed for as
// long as the command is in hand.
func TestACommandThatWaitsLongerThanItsLeaseIsTakenByNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, dsn := promising(t, "")
		other := ours(t, dsn+"&groupcommit_promises=on")
		tries := 0
		here := handle(t, one, func(_ context.Context, _ *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
			if tries++; tries == 1 {
				return errNotYet
			}
			batch[0].Resolve(tries)
			return nil
		}, groupcommit.Durable(), groupcommit.Lease(time.Minute), groupcommit.Retry(groupcommit.Constant(10*time.Minute, 1)))
		var taken atomic.Int32
		handle(t, other, func(context.Context, *sql.Tx, []*groupcommit.Command[entry, int]) error {
			taken.Add(1)
			return nil
		}, groupcommit.Durable(), groupcommit.Lease(time.Minute))

		r, err := here.Do(background, "x", entry{1})
		require.NoError(t, err)
		require.Zero(t, taken.Load(), "the other process has handled it")
		require.Equal(t, 2, r)
	})
}

// Commands that wait for their next attempt take room in the queue, and give it back: where everything fails, callers wait
// before they hand in more, and only until something is over.
func TestCommandsThatWaitForTheirNextAttemptTakeRoomInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 4
		db := ours(t, dsnOf(t, "&_busy_timeout=90000000")) // more than a day
		var serves atomic.Bool
		cs := handle(t, db, func(context.Context, *sql.Tx, []*groupcommit.Command[entry, int]) error {
			if serves.Load() {
				return nil
			}
			return errNotYet
		}, groupcommit.MaxLen(1), groupcommit.MaxQueue(room), groupcommit.Retry(groupcommit.Constant(time.Hour, 100)))
		ctx, cancel := context.WithTimeout(background, 24*time.Hour) // of the bubble's
		defer cancel()
		var in atomic.Int32
		var promises []*groupcommit.PromiseOf[int]
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for i := range 4 * room {
				promises = append(promises, cs.Go(ctx, "", entry{i}))
				in.Add(1)
				synctest.Wait() // until it has failed
			}
		}()
		time.Sleep(time.Minute)
		assert.EqualValues(t, room, in.Load(), "commands for which there is room")
		serves.Store(true)
		<-ended
		for _, p := range promises {
			_, err := p.Await(background)
			require.NoError(t, err)
		}
	})
}

// Who waits for a command that another process has does so until the database is closed, and no longer.
func TestClosingADatabaseAnswersThoseWhoWaitForAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, dsn := promising(t, "")
		one := ours(t, dsn+"&groupcommit_promises=on")
		fails := func(context.Context, *sql.Tx, []*groupcommit.Command[entry, int]) error { return errNotYet }
		opts := []groupcommit.HandlerOption{groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(24*time.Hour, 1))}
		theirs := handle(t, other, fails, opts...).Go(background, "x", entry{1})
		synctest.Wait()
		waits := handle(t, one, fails, opts...).Go(background, "x", entry{1})
		time.Sleep(time.Minute)
		require.NoError(t, one.Close())
		ctx, cancel := context.WithTimeout(background, time.Hour)
		defer cancel()
		_, err := waits.Await(ctx)
		require.ErrorIs(t, err, groupcommit.ErrClosed)
		require.NoError(t, other.Close())
		_, err = theirs.Await(ctx)
		require.ErrorIs(t, err, errNotYet)
	})
}
