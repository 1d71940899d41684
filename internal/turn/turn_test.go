package turn

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
	*Turn
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
func want(ctx context.Context, w *Writer, tentative bool, wait time.Duration) *waiter {
	x := &waiter{Turn: New(), got: make(chan error)}
	go func() {
		defer close(x.got)
		x.err = w.Take(ctx, x.Turn, enough(tentative), wait, errBusy)
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
func hold(t *testing.T, w *Writer, tentative bool) *Turn {
	t.Helper()
	x := New()
	require.NoError(t, w.Take(t.Context(), x, enough(tentative), 0, errBusy))
	return x
}

func TestTurnsAreFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		first := hold(t, &w, false)
		var xs []*waiter
		for range 5 {
			xs = append(xs, want(t.Context(), &w, false, time.Hour))
		}
		w.Leave(first)
		for i, x := range xs {
			x.has(t)
			for _, y := range xs[i+1:] {
				require.True(t, y.waits(), "two have the turn")
			}
			w.Leave(x.Turn)
		}
		assert.Nil(t, w.holder)
		assert.Nil(t, w.last)
	})
}

func TestAWaitForTheTurnHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		first := hold(t, &w, false)
		ctx, cancel := context.WithCancel(t.Context())
		a := want(t.Context(), &w, false, time.Hour)
		b := want(ctx, &w, false, time.Hour)
		c := want(t.Context(), &w, false, time.Hour)
		cancel()
		<-b.got
		require.ErrorIs(t, b.err, context.Canceled)
		w.Leave(first)
		a.has(t)
		w.Leave(a.Turn)
		c.has(t)
	})
}

func TestAWaitThatTakesTooLongEndsWithTheDriversBusyError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		start := time.Now()
		first := hold(t, &w, false)
		a := want(t.Context(), &w, false, 10*time.Second)
		b := want(t.Context(), &w, false, time.Hour)
		<-a.got
		require.ErrorIs(t, a.err, errBusy)
		assert.Equal(t, 10*time.Second, a.at.Sub(start))
		require.True(t, b.waits())
		w.Leave(first)
		b.has(t)
	})
}

// Whichever comes first, the end of the wait or the turn: the turn is never lost.
func TestATurnThatComesWithTheEndOfTheWaitGoesOn(t *testing.T) {
	for i := range 50 {
		synctest.Test(t, func(t *testing.T) {
			var w Writer
			first := hold(t, &w, false)
			ctx, cancel := context.WithCancel(t.Context())
			a := want(ctx, &w, false, time.Hour)
			b := want(t.Context(), &w, false, time.Hour)
			if i%2 == 0 {
				cancel()
				w.Leave(first)
			} else {
				w.Leave(first)
				cancel()
			}
			<-a.got
			if a.err == nil {
				w.Leave(a.Turn)
			}
			b.has(t)
			assert.Len(t, b.ready, 0, "a second token")
		})
	}
}

func TestATentativeTurnIsOvertakenWhenItIsOldAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		start := time.Now()
		reader := hold(t, &w, true)
		a := want(t.Context(), &w, false, time.Hour)
		b := want(t.Context(), &w, false, time.Hour)
		a.has(t)
		assert.GreaterOrEqual(t, a.at.Sub(start), overtakeAfter)
		assert.LessOrEqual(t, a.at.Sub(start), overtakeAfter+overtakeAfter/4)

		assert.False(t, w.Firm(reader), "it has lost its turn")
		w.Leave(reader) // means nothing now
		require.True(t, b.waits(), "a turn that was overtaken was handed over a second time")
		assert.True(t, w.Firm(a.Turn))
		w.Leave(a.Turn)
		b.has(t)
	})
}

func TestAFirmTurnIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		tx := hold(t, &w, true)
		a := want(t.Context(), &w, false, time.Hour)
		require.True(t, w.Firm(tx))
		time.Sleep(20 * overtakeAfter)
		require.True(t, a.waits())
		w.Leave(tx)
		a.has(t)
	})
}

func TestTentativeTurnsOvertakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
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

func TestATentativeTurnThatWasHandedOverIsOvertakenWhenItIsOld(t *testing.T) {
	for name, firstIsTentative := range map[string]bool{"by a firm one": false, "by a tentative one, which was being watched": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w Writer
				first := hold(t, &w, firstIsTentative)
				a := want(t.Context(), &w, true, time.Hour)
				b := want(t.Context(), &w, false, time.Hour)
				time.Sleep(overtakeAfter / 2)
				w.Leave(first)
				a.has(t)
				b.has(t)
				assert.Equal(t, overtakeAfter, b.at.Sub(a.at))
			})
		})
	}
}

func TestATurnIsUsedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Writer
		x, y := New(), New()
		for range 5 {
			require.NoError(t, w.Take(t.Context(), x, enough(true), 0, errBusy))
			go func() { assert.NoError(t, w.Take(t.Context(), y, nil, time.Hour, errBusy)); w.Leave(y) }()
			synctest.Wait()
			time.Sleep(2 * overtakeAfter)
			require.NoError(t, w.Take(t.Context(), x, enough(true), time.Hour, errBusy), "after being overtaken")
			w.Leave(x)
		}
	})
}

func TestInAStormOneAtATimeHasTheTurn(t *testing.T) {
	var w Writer
	var all sync.WaitGroup
	holders := 0 // guarded by the turn; the race detector watches
	for g := range 16 {
		all.Go(func() {
			x := New()
			for i := range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration((g*i)%97)*10*time.Microsecond)
				if i%3 == 0 {
					ctx = context.Background()
				}
				if w.Take(ctx, x, nil, time.Minute, errBusy) == nil {
					holders++
					assert.Equal(t, 1, holders)
					holders--
					w.Leave(x)
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
	a, b := Join("one.db"), Join("one.db")
	other := Join("two.db")
	assert.Same(t, a, b)
	assert.NotSame(t, a, other)
	assert.NotSame(t, Join(""), Join(""), "nobody shares a database without a key")

	Quit("one.db")
	assert.Same(t, a, Join("one.db"), "one user was left")
	Quit("one.db")
	Quit("one.db")
	Quit("two.db")
	Quit("")
	assert.Empty(t, registry.byKey, "the last user's leaving must leave nothing behind")
}

func TestWithoutAWriterThereIsRoomForEverybody(t *testing.T) {
	var w *Writer
	x, y := New(), New()
	require.NoError(t, w.Take(t.Context(), x, nil, 0, errBusy))
	require.NoError(t, w.Take(t.Context(), y, nil, 0, errBusy))
	assert.True(t, w.Firm(x))
	w.Leave(x)
	w.Leave(y)
}

func TestATurnIsPassedOnBeforeThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(Writer)
		from, to := hold(t, w, false), New()
		x := want(t.Context(), w, false, time.Minute)
		require.True(t, x.waits())
		require.True(t, w.Pass(from, to))
		require.False(t, w.Pass(from, New()), "it has none any more")
		w.Leave(from)
		require.True(t, x.waits())
		w.Leave(to)
		x.has(t)
	})
}
