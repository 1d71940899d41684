package command

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/stretchr/testify/require"
)

var (
	_ Host = (*fakeHost)(nil)
	_ Tx   = (*fakeTx)(nil)
)

// queued has a handler that is held up by a gate handle a first number, and queues 1, 2, which fails twice, and 3 behind it.
func queued(t *testing.T, r *Runner) (first *number, batch []*number) {
	first = newNumber(r.Kind(), "", 0, 0)
	r.Go(t.Context(), &first.task)
	synctest.Wait()
	for _, n := range []*number{newNumber(r.Kind(), "", 1, 0), newNumber(r.Kind(), "", 2, 2), newNumber(r.Kind(), "", 3, 0)} {
		r.Go(t.Context(), &n.task)
		batch = append(batch, n)
	}
	return first, batch
}

func TestCommandsThatWaitForAnotherAttemptTakeRoomInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.MaxQueue = 2
		r := New(&fakeHost{}, c)
		defer r.Close()
		var failed []*number
		for n := range 2 {
			failed = append(failed, newNumber(r.Kind(), "", n, 1))
			r.Go(t.Context(), &failed[n].task)
			synctest.Wait()
		}
		start := time.Now()
		late := newNumber(r.Kind(), "", 7, 0)
		var in atomic.Bool
		go func() {
			r.Go(t.Context(), &late.task)
			in.Store(true)
		}()
		synctest.Wait()
		require.False(t, in.Load(), "there is no room")
		v, err := late.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 7, v)
		require.Equal(t, time.Minute, time.Since(start), "there was room again when the first was tried again")
		for n, f := range failed {
			v, err := f.task.Await(t.Context())
			require.NoError(t, err)
			require.Equal(t, n, v)
		}
		require.True(t, r.queue.HasRoom())
		require.Zero(t, r.queue.Load())
	})
}

// The first batch fails for one command. It is not held against the others, or the next batch.
func TestABatchIsTriedAgainAsItWasWhileOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		var sizes, failed []int
		c.Retry = func(n int) (time.Duration, bool) {
			failed = append(failed, n)
			return time.Minute, true
		}
		gate := make(chan struct{})
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			sizes = append(sizes, len(batch))
			<-gate
			return failing(batch)
		}
		r := New(&fakeHost{}, c)
		first, batch := queued(t, r)
		close(gate)
		synctest.Wait()
		require.Equal(t, durable.Resolved, first.task.State())
		require.Equal(t, durable.Pending, batch[0].task.State())
		require.Equal(t, 3, r.Stats().Retrying)
		next := newNumber(r.Kind(), "", 4, 0)
		r.Go(t.Context(), &next.task)
		synctest.Wait()
		require.Equal(t, durable.Resolved, next.task.State())
		for _, n := range batch {
			v, err := n.task.Await(t.Context())
			require.NoError(t, err)
			require.Equal(t, n.n, v)
		}
		require.Equal(t, []int{1, 3, 1, 3, 3}, sizes)
		require.Equal(t, []int{1, 2}, failed)
		r.Close()
		s := r.Stats()
		require.Equal(t, []int{0, 0, 5, 2}, []int{s.Running, s.Retrying, int(s.Resolved), int(s.Retries)})
	})
}

func TestClosingGivesThoseThatWaitForAnotherAttemptTheirLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(&fakeHost{}, config())
		n := newNumber(r.Kind(), "", 1, 1)
		r.Go(t.Context(), &n.task)
		synctest.Wait()
		start := time.Now()
		r.Close()
		_, err := n.task.Await(t.Context())
		require.Equal(t, errNo, err)
		require.Zero(t, time.Since(start))
		late := newNumber(r.Kind(), "", 2, 0)
		r.Go(t.Context(), &late.task)
		_, err = late.task.Await(t.Context())
		require.Equal(t, errClosed, err)
	})
}

func TestABatchWhoseDriverPanicsIsOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := &fakeHost{}, config()
		gate := make(chan struct{})
		c.Handle = func(context.Context, *sql.Tx, []*Task) error {
			<-gate
			return nil
		}
		r := New(h, c)
		defer r.Close()
		first := newNumber(r.Kind(), "", 0, 0)
		r.Go(t.Context(), &first.task)
		synctest.Wait()
		h.begin = func() error { panic("at the disk") }
		batch := []*number{newNumber(r.Kind(), "", 1, 0), newNumber(r.Kind(), "", 2, 0)}
		for _, n := range batch {
			r.Go(t.Context(), &n.task)
		}
		close(gate)
		for _, n := range batch {
			_, err := n.task.Await(t.Context())
			var unknown *engine.OutcomeUnknownError
			require.ErrorAs(t, err, &unknown)
			var panicked *engine.PanicError
			require.ErrorAs(t, unknown.Cause, &panicked)
			require.Equal(t, "at the disk", panicked.Value)
		}
	})
}

// Two callers have the same id at the same time, and the first one's context ends while it is in the queue.
func TestACommandTakesOverTheIDOfOneThatWasTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Flights = flight.New[engine.Answer](0)
		gate := make(chan struct{})
		handled := 0
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			handled += len(batch)
			<-gate
			return nil
		}
		r := New(&fakeHost{}, c)
		plug := newNumber(r.Kind(), "", 0, 0)
		r.Go(t.Context(), &plug.task)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		first, second := newNumber(r.Kind(), "id", 1, 0), newNumber(r.Kind(), "id", 1, 0)
		other := newNumber(r.Kind(), "id", 2, 0)
		r.Go(ctx, &first.task)
		r.Go(t.Context(), &second.task)
		r.Go(t.Context(), &other.task)
		_, err := other.task.Await(t.Context())
		require.ErrorIs(t, err, engine.ErrMismatch)
		cancel()
		synctest.Wait()
		require.Equal(t, durable.RejectedCanceled, first.task.State())
		require.Equal(t, durable.Pending, second.task.State())
		close(gate)
		v, err := second.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, v)
		require.False(t, second.task.Replayed())
		require.Equal(t, 2, handled)
		r.Close()
	})
}

// Without savepoints the batch of a command that fails in Try runs again without it. The command runs by itself, as often as
// the policy says, while the others have their outcomes.
func TestACommandThatFailsInTryIsTakenOutOfItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		var batches [][]int
		gate := make(chan struct{})
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			var ns []int
			for _, n := range numbers(batch) {
				ns = append(ns, n.n)
			}
			batches = append(batches, ns)
			<-gate
			for _, n := range numbers(batch) {
				if err := n.task.Try(true, func() error { return failing([]*Task{&n.task}) }); err != nil {
					return err
				}
			}
			return nil
		}
		r := New(&fakeHost{}, c)
		_, batch := queued(t, r)
		close(gate)
		synctest.Wait()
		require.Equal(t, durable.Resolved, batch[0].task.State())
		require.Equal(t, durable.Pending, batch[1].task.State())
		require.Equal(t, durable.Resolved, batch[2].task.State())
		v, err := batch[1].task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, v)
		require.Equal(t, [][]int{{0}, {1, 2, 3}, {1, 3}, {2}, {2}}, batches)
		r.Close()
		s := r.Stats()
		require.Equal(t, []int{0, 0, 4, 1, 1}, []int{s.Running, s.Retrying, int(s.Resolved), int(s.Batches.Reruns), int(s.Retries)})
	})
}

// One command of a batch is to run by itself, and the rest of the batch fails and is to run again in a minute.
func TestACommandThatWasTakenOutDoesNotWaitForTheRestOfItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		gate := make(chan struct{})
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			<-gate
			for _, n := range numbers(batch) {
				f := func() error { return failing([]*Task{&n.task}) }
				if n.n != 1 {
					return f()
				}
				if err := n.task.Try(true, f); err != nil {
					return err
				}
			}
			return nil
		}
		r := New(&fakeHost{}, c)
		plug := newNumber(r.Kind(), "", 0, 0)
		r.Go(t.Context(), &plug.task)
		synctest.Wait()
		out, rest := newNumber(r.Kind(), "", 1, 1), newNumber(r.Kind(), "", 2, 1)
		r.Go(t.Context(), &out.task)
		r.Go(t.Context(), &rest.task)
		close(gate)
		synctest.Wait()
		require.Equal(t, durable.Resolved, out.task.State())
		require.Equal(t, durable.Pending, rest.task.State())
		_, err := rest.task.Await(t.Context())
		require.NoError(t, err)
		r.Close()
	})
}

// Where the database could have two transactions at once, a batch that is tried again could meet the next one.
func TestAHandlerHasOneBatchAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		var r *Runner
		var free []bool
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			free = append(free, r.one.TryLock())
			return failing(batch)
		}
		r = New(&fakeHost{}, c)
		defer r.Close()
		n := newNumber(r.Kind(), "", 1, 1)
		r.Go(t.Context(), &n.task)
		_, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, []bool{false, false}, free)
	})
}

// A command alone has no other goroutine than the library's either, nor has one that is tried again.
func TestACommandWhoseTransactionPanicsIsUnknown(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h, c := &fakeHost{}, config()
			h.begin = func() error {
				if again {
					again = false
					return errors.New("at first")
				}
				panic("at the disk")
			}
			r := New(h, c)
			defer r.Close()
			n := newNumber(r.Kind(), "", 1, 0)
			r.Go(t.Context(), &n.task)
			_, err := n.task.Await(t.Context())
			var unknown *engine.OutcomeUnknownError
			require.ErrorAs(t, err, &unknown)
			var panicked *engine.PanicError
			require.ErrorAs(t, unknown.Cause, &panicked)
		})
	}
}

// The handler's goroutine ends, and the runner's does not.
func TestAHandlerThatPanicsOrCallsGoexitHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Retry = func(int) (time.Duration, bool) { panic("at the policy") }
		handle := runtime.Goexit
		c.Handle = func(context.Context, *sql.Tx, []*Task) error {
			handle()
			return nil
		}
		r := New(&fakeHost{}, c)
		defer r.Close()
		n := newNumber(r.Kind(), "", 1, 0)
		r.Go(t.Context(), &n.task)
		_, err := n.task.Await(t.Context())
		require.EqualError(t, err, "groupcommit: the handler has called runtime.Goexit")
		handle = func() { panic("in the handler") }
		n = newNumber(r.Kind(), "", 2, 0)
		r.Go(t.Context(), &n.task)
		_, err = n.task.Await(t.Context())
		var panicked *engine.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Equal(t, "in the handler", panicked.Value)
	})
}
