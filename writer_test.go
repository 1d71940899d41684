package groupcommit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errBusy = errors.New("database is locked")

// waiter is a goroutine that wants a turn.
type waiter struct {
	*turn
	got chan error // closed when it has an answer
	err error
	at  time.Time
}

// enough is the channel of who wants a tentative turn.
func enough(tentative bool) <-chan struct{} {
	if tentative {
		return make(chan struct{})
	}
	return nil
}

// want has a goroutine wait for a turn; it waits already when want returns.
func want(ctx context.Context, w *writer, tentative bool, wait time.Duration) *waiter {
	x := &waiter{turn: newTurn(), got: make(chan error)}
	go func() {
		defer close(x.got)
		x.err = w.take(ctx, x.turn, enough(tentative), wait, errBusy)
		x.at = time.Now()
	}()
	synctest.Wait()
	return x
}

func (x *waiter) waits() bool {
	synctest.Wait()
	select {
	case <-x.got:
		return false
	default:
		return true
	}
}

func (x *waiter) has(t *testing.T) {
	t.Helper()
	<-x.got
	require.NoError(t, x.err)
}

// hold takes a turn that is free.
func hold(t *testing.T, w *writer, tentative bool) *turn {
	t.Helper()
	x := newTurn()
	require.NoError(t, w.take(t.Context(), x, enough(tentative), 0, errBusy))
	return x
}

func TestTurnsAreFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		first := hold(t, &w, false)
		var xs []*waiter
		for range 5 {
			xs = append(xs, want(t.Context(), &w, false, time.Hour))
		}
		w.leave(first)
		for i, x := range xs {
			x.has(t)
			for _, y := range xs[i+1:] {
				require.True(t, y.waits(), "two have the turn")
			}
			w.leave(x.turn)
		}
		assert.Nil(t, w.holder)
		assert.Nil(t, w.last)
	})
}

func TestAWaitForTheTurnHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		first := hold(t, &w, false)
		ctx, cancel := context.WithCancel(t.Context())
		a := want(t.Context(), &w, false, time.Hour)
		b := want(ctx, &w, false, time.Hour)
		c := want(t.Context(), &w, false, time.Hour)
		cancel()
		<-b.got
		require.ErrorIs(t, b.err, context.Canceled)
		w.leave(first)
		a.has(t)
		w.leave(a.turn)
		c.has(t)
	})
}

func TestAWaitThatTakesTooLongEndsWithTheDriversBusyError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		start := time.Now()
		first := hold(t, &w, false)
		a := want(t.Context(), &w, false, 10*time.Second)
		b := want(t.Context(), &w, false, time.Hour)
		<-a.got
		require.ErrorIs(t, a.err, errBusy)
		assert.Equal(t, 10*time.Second, a.at.Sub(start))
		require.True(t, b.waits())
		w.leave(first)
		b.has(t)
	})
}

// Whichever comes first, the end of the wait or the turn: the turn is never lost.
func TestATurnThatComesWithTheEndOfTheWaitGoesOn(t *testing.T) {
	for i := range 50 {
		synctest.Test(t, func(t *testing.T) {
			var w writer
			first := hold(t, &w, false)
			ctx, cancel := context.WithCancel(t.Context())
			a := want(ctx, &w, false, time.Hour)
			b := want(t.Context(), &w, false, time.Hour)
			if i%2 == 0 {
				cancel()
				w.leave(first)
			} else {
				w.leave(first)
				cancel()
			}
			<-a.got
			if a.err == nil {
				w.leave(a.turn)
			}
			b.has(t)
			assert.Len(t, b.ready, 0, "a second token")
		})
	}
}

func TestATentativeTurnIsOvertakenWhenItIsOldAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		start := time.Now()
		reader := hold(t, &w, true)
		a := want(t.Context(), &w, false, time.Hour)
		b := want(t.Context(), &w, false, time.Hour)
		a.has(t)
		assert.GreaterOrEqual(t, a.at.Sub(start), overtakeAfter)
		assert.LessOrEqual(t, a.at.Sub(start), overtakeAfter+overtakeAfter/4)

		assert.False(t, w.firm(reader), "it has lost its turn")
		w.leave(reader) // means nothing now
		require.True(t, b.waits(), "a turn that was overtaken was handed over a second time")
		assert.True(t, w.firm(a.turn))
		w.leave(a.turn)
		b.has(t)
	})
}

func TestAFirmTurnIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		tx := hold(t, &w, true)
		a := want(t.Context(), &w, false, time.Hour)
		require.True(t, w.firm(tx))
		time.Sleep(20 * overtakeAfter)
		require.True(t, a.waits())
		w.leave(tx)
		a.has(t)
	})
}

func TestTentativeTurnsOvertakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		start := time.Now()
		hold(t, &w, true)
		a := want(t.Context(), &w, true, time.Hour)
		b := want(t.Context(), &w, false, time.Hour)
		b.has(t)
		require.False(t, a.waits())
		assert.GreaterOrEqual(t, a.at.Sub(start), overtakeAfter)
		assert.GreaterOrEqual(t, b.at.Sub(a.at), overtakeAfter, "the second turn is as young as it is")
	})
}

func TestATurnIsUsedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writer
		x, y := newTurn(), newTurn()
		for range 5 {
			require.NoError(t, w.take(t.Context(), x, enough(true), 0, errBusy))
			go func() { assert.NoError(t, w.take(t.Context(), y, nil, time.Hour, errBusy)); w.leave(y) }()
			synctest.Wait()
			time.Sleep(2 * overtakeAfter)
			require.NoError(t, w.take(t.Context(), x, enough(true), time.Hour, errBusy), "after being overtaken")
			w.leave(x)
		}
	})
}

func TestInAStormOneAtATimeHasTheTurn(t *testing.T) {
	var w writer
	var all sync.WaitGroup
	holders := 0 // guarded by the turn; the race detector watches
	for g := range 16 {
		all.Go(func() {
			x := newTurn()
			for i := range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration((g*i)%97)*10*time.Microsecond)
				if i%3 == 0 {
					ctx = context.Background()
				}
				if w.take(ctx, x, nil, time.Minute, errBusy) == nil {
					holders++
					assert.Equal(t, 1, holders)
					holders--
					w.leave(x)
				}
				cancel()
			}
		})
	}
	all.Wait()
	assert.Nil(t, w.holder)
	assert.Nil(t, w.first)
}

func TestTheSameKeySharesAWriterAndAnotherDoesNot(t *testing.T) {
	a, b := joinWriter("one.db"), joinWriter("one.db")
	other := joinWriter("two.db")
	assert.Same(t, a, b)
	assert.NotSame(t, a, other)
	assert.NotSame(t, joinWriter(""), joinWriter(""), "nobody shares a database without a key")

	leaveWriter("one.db")
	assert.Same(t, a, joinWriter("one.db"), "one user was left")
	leaveWriter("one.db")
	leaveWriter("one.db")
	leaveWriter("two.db")
	leaveWriter("")
	assert.Empty(t, writers.byKey, "the last user's leaving must leave nothing behind")
}

func TestWithoutAWriterThereIsRoomForEverybody(t *testing.T) {
	var w *writer
	x, y := newTurn(), newTurn()
	require.NoError(t, w.take(t.Context(), x, nil, 0, errBusy))
	require.NoError(t, w.take(t.Context(), y, nil, 0, errBusy))
	assert.True(t, w.firm(x))
	w.leave(x)
	w.leave(y)
}
