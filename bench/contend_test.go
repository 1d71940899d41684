package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// sleeper takes d for each call.
func sleeper(callers int, d time.Duration) *contender {
	return &contender{callers: callers, call: func(_, _ int) error { time.Sleep(d); return nil }}
}

func TestACallThatIsUnderWayWhenASliceEndsCountsWithItsWholeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sleeper(4, 30*time.Millisecond)
		c.slice(context.Background(), 100*time.Millisecond, true)
		s := c.score()
		assert.Equal(t, 4*4, s.Calls) // the fourth begins at 90 ms
		assert.InEpsilon(t, 16/0.120, s.PerSecond, 1e-9)
		assert.Equal(t, []float64{30, 30, 30}, []float64{s.P50, s.P99, s.Longest})
	})
}

func TestEachCallerMakesACallInTheShortestSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sleeper(4, 10*time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.slice(ctx, 0, true)
		assert.Equal(t, 4, c.score().Calls)
		w := &work{users: unbounded, goroutines: 4}
		w.end()
		assert.NoError(t, w.concurrently(context.Background(), func(int) error { return nil }))
		assert.Equal(t, 1, w.made())
	})
}

func TestAPauseIsNotTheCallsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sleeper(1, 10*time.Millisecond)
		c.pause = 40 * time.Millisecond
		c.slice(context.Background(), 95*time.Millisecond, true)
		s := c.score()
		assert.Equal(t, 2, s.Calls)
		assert.Equal(t, 10.0, s.Longest)
		assert.InEpsilon(t, 20, s.PerSecond, 1e-9) // two in 100 ms
	})
}

func TestACallThatFailsIsNotInTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contender{callers: 1, call: func(_, n int) error {
			time.Sleep(10 * time.Millisecond)
			if n%2 == 0 {
				return errors.New("refused")
			}
			return nil
		}}
		c.slice(context.Background(), 95*time.Millisecond, true)
		s := c.score()
		assert.Equal(t, 10, s.Calls)
		assert.Equal(t, 5, s.Errors)
		assert.Equal(t, "5 errors: refused", s.Fault)
		assert.InEpsilon(t, 50, s.PerSecond, 1e-9)
		assert.InEpsilon(t, 50, s.Slices[0], 1e-9)
	})
}

func TestContendersTakeTurnsEveryOtherTimeTheOtherWayRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order string
		of := func(name string) *contender {
			c := sleeper(1, time.Millisecond)
			c.around = func(slice func()) {
				mu.Lock()
				order += name
				mu.Unlock()
				slice()
			}
			return c
		}
		a, b := of("a"), of("b")
		contest(context.Background(), pace{slice: 4500 * time.Microsecond, slices: 3}, a, b)
		assert.Equal(t, "ab"+"ab"+"ba"+"ab", order) // the first two warm up
		assert.Len(t, a.score().Slices, 3)
		assert.Len(t, b.score().Slices, 3)
		assert.Equal(t, 15, a.score().Calls)
		assert.EqualValues(t, 20, a.made.Load())
	})
}

func TestASlowContestEndsEarlyAndBothSidesHaveHadTheirSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := sleeper(1, time.Millisecond), sleeper(1, time.Minute)
		contest(context.Background(), pace{slice: 10 * time.Millisecond, slices: 4, most: time.Second}, fast, slow)
		assert.Len(t, fast.score().Slices, 1)
		assert.Len(t, slow.score().Slices, 1)
	})
}

func TestAnInterruptEndsASlice(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var n atomic.Int64
	c := &contender{callers: 2, call: func(_, _ int) error {
		if n.Add(1) == 100 {
			cancel()
		}
		return nil
	}}
	c.slice(ctx, time.Hour, true)
	assert.GreaterOrEqual(t, n.Load(), int64(100))
}

func TestADuelComparesWithThePlainSide(t *testing.T) {
	d := duel{
		Plain:   score{PerSecond: 100, P50: 10, P99: 20, Slices: []float64{100, 100}},
		Swapped: score{PerSecond: 95, P50: 20, P99: 30, Slices: []float64{90, 110}},
	}
	assert.Equal(t, 1.0, d.rate(), "the median of 0.9 and 1.1")
	assert.Equal(t, 2.0, d.p50())
	assert.Equal(t, 1.5, d.p99())
	assert.InDelta(t, 0.2, d.spread(), 1e-9)
	assert.True(t, duel{}.rate() == 0, "no NaN for the JSON")
}

func TestThePlainSideCountsAtItsBestPool(t *testing.T) {
	assert.Equal(t, "b", bestOf([]score{{Side: "a", PerSecond: 1}, {Side: "b", PerSecond: 3}, {Side: "c", PerSecond: 2}}).Side)
}

func TestTheErrorThatCameMostOftenIsNamed(t *testing.T) {
	assert.Equal(t, "1,003 errors: often", faults{"often": 1000, "seldom": 3}.String())
}
