package command

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/stretchr/testify/require"
)

// A process has a command that waits for another attempt for many times its lease. Another process, which would be glad of
// it, does not get it.
func TestTheLeaseOfACommandThatWaitsForAnotherAttemptIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		var mine, theirs int
		one, two := open(), open()
		defer one.db.Close()
		defer two.db.Close()
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			mine++
			return failing(batch)
		}
		r := New(one, c)
		r.Start()
		c.Flights = flight.New[engine.Answer](0)
		c.Handle = func(context.Context, *sql.Tx, []*Task) error {
			theirs++
			return nil
		}
		other := New(two, c)
		other.Start()

		n := newNumber(r.Kind(), "a", 5, 2)
		r.Go(t.Context(), &n.task)
		start := time.Now()
		synctest.Wait()
		another := newNumber(r.Kind(), "a", 6, 0) // its end is not that of the one that waits
		r.Go(t.Context(), &another.task)
		_, err := another.task.Await(t.Context())
		require.ErrorIs(t, err, engine.ErrMismatch)
		v, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 5, v)
		require.Equal(t, 2*time.Minute, time.Since(start).Round(time.Second))
		require.Empty(t, r.keeper.held.all(), "what is settled is no longer in hand")
		other.Close()
		r.Close()
		require.Equal(t, []int{3, 0}, []int{mine, theirs})
	})
}

// A process that is gone has left a lease. The other one waits for its end, and no longer than a round after it.
func TestACommandIsTakenOverWhenItsLeaseHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		h := open()
		defer h.db.Close()
		gone := New(h, c) // its rounds never begin
		n := newNumber(gone.Kind(), "a", 5, 0)
		n.task.key = "key"
		require.NoError(t, gone.keeper.record(t.Context(), &n.task, []byte("5")))

		var handled []int
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			for _, n := range numbers(batch) {
				handled = append(handled, n.n)
			}
			return nil
		}
		r := New(h, c)
		r.Start()
		start := time.Now()
		require.NoError(t, r.Recover(t.Context()))
		require.Equal(t, []int{5}, handled)
		require.GreaterOrEqual(t, time.Since(start), c.Durable.Lease)
		require.LessOrEqual(t, time.Since(start), 2*c.Durable.Lease)
		r.Close()
	})
}

// The writer is never free before the runner is closed. The command stays recorded, and its caller is told so.
func TestARecordedCommandWaitsForTheWriterUntilTheRunnerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		h, busy := open(), errors.New("busy")
		defer h.db.Close()
		tries := 0
		h.enter = func() error {
			tries++
			time.Sleep(time.Second)
			return busy
		}
		r := New(h, c)
		r.Start()
		n := newNumber(r.Kind(), "a", 5, 0)
		r.Go(t.Context(), &n.task)
		time.Sleep(10*time.Second + time.Second/2)
		require.Equal(t, durable.Pending, n.task.State())
		r.Close()
		_, err := n.task.Await(t.Context())
		require.ErrorIs(t, err, busy)
		require.EqualError(t, err, "a is pending: busy")
		require.Equal(t, 11, tries)
		found, err := r.kind.table.Read(t.Context(), h.db, []string{"a"})
		require.NoError(t, err)
		require.Equal(t, durable.Pending, found["a"].State)
		require.Empty(t, found["a"].Owner, "other processes have it at once")
	})
}

// Between two attempts another process takes the command, and carries it out. This one asks what became of it.
func TestACommandThatAnotherProcessHasTakenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		h, handled := open(), 0
		defer h.db.Close()
		c.Handle = func(context.Context, *sql.Tx, []*Task) error {
			handled++
			return errNo
		}
		c.Retry = func(int) (time.Duration, bool) {
			lease(t, h, "another")
			return 0, true
		}
		r := New(h, c)
		r.Start()
		n := newNumber(r.Kind(), "a", 5, 0)
		r.Go(t.Context(), &n.task)
		time.Sleep(time.Minute)
		require.Equal(t, durable.Pending, n.task.State())
		_, err := h.db.Exec("UPDATE groupcommit_promises SET state = 1, value = ?, completed_at = 1", []byte("theirs"))
		require.NoError(t, err)
		v, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, "theirs", v)
		require.True(t, n.task.Replayed())
		require.Equal(t, 1, handled)
		r.Close()
	})
}

// lease gives all commands of a database to a process.
func lease(t *testing.T, h *fakeHost, owner string) {
	t.Helper()
	_, err := h.db.Exec("UPDATE groupcommit_promises SET lease_owner = ?, lease_until = ?", owner, time.Now().Add(time.Hour).UnixMilli())
	require.NoError(t, err)
}

// The runner is closed while the caller waits for the other process, or while the command finds out that it has to.
func TestACommandThatAnotherProcessHasIsPendingWhenTheRunnerIsClosed(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, open := recording(t)
			h := open()
			defer h.db.Close()
			gate := make(chan struct{})
			h.begin = func() error {
				<-gate
				return nil
			}
			r := New(h, c)
			r.Start()
			n := newNumber(r.Kind(), "a", 5, 0)
			r.Go(t.Context(), &n.task)
			synctest.Wait()
			lease(t, h, "another")
			closed := make(chan struct{})
			shut := func() {
				r.Close()
				close(closed)
			}
			if late {
				go shut()
				synctest.Wait()
				close(gate)
			} else {
				close(gate)
				time.Sleep(time.Minute)
				require.Equal(t, durable.Pending, n.task.State())
				go shut()
			}
			<-closed
			_, err := n.task.Await(t.Context())
			require.EqualError(t, err, "a is pending: it is closed")
		})
	}
}

func TestRecoverEndsWithItsContextAndWithTheRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		h := open()
		defer h.db.Close()
		r := New(h, c)
		r.Start()
		n := newNumber(r.Kind(), "a", 5, 0)
		n.task.key = "key"
		require.NoError(t, r.keeper.record(t.Context(), &n.task, []byte("5")))
		lease(t, h, "another")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		start := time.Now()
		require.Equal(t, context.DeadlineExceeded, r.Recover(ctx))
		require.Equal(t, 10*time.Second+time.Millisecond, time.Since(start))
		done := make(chan error)
		go func() { done <- r.Recover(t.Context()) }()
		time.Sleep(time.Second + time.Millisecond)
		start = time.Now()
		r.Close()
		require.Equal(t, errClosed, <-done)
		require.Zero(t, time.Since(start))
	})
}

// The second caller of an id waits for the first. Its command is recorded, so that its context no longer counts.
func TestTheContextOfACallerDoesNotTakeARecordedCommandBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		h := open()
		defer h.db.Close()
		gate := make(chan struct{})
		h.begin = func() error {
			<-gate
			return nil
		}
		r := New(h, c)
		defer r.Close()
		r.Start()
		ctx, cancel := context.WithCancel(t.Context())
		first, second := newNumber(r.Kind(), "a", 5, 0), newNumber(r.Kind(), "a", 5, 0)
		r.Go(ctx, &first.task)
		r.Go(ctx, &second.task)
		cancel()
		synctest.Wait()
		require.Equal(t, durable.Pending, second.task.State())
		close(gate)
		for _, n := range []*number{first, second} {
			v, err := n.task.Await(t.Context())
			require.NoError(t, err)
			require.Equal(t, 5, v)
		}
	})
}
