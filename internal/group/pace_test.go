package group

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOneSlowCommitSaysNothingOfTheOthers(t *testing.T) {
	var p pace
	p.paid(time.Millisecond)
	p.paid(time.Minute) // a checkpoint, say
	assert.Less(t, p.window(), 1200*time.Microsecond)
	for range 50 {
		p.paid(10 * time.Millisecond)
	}
	assert.Equal(t, yieldMost, p.window(), "but many do")
}

func TestACommitOfWhichNothingIsKnownTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for _, took := range []time.Duration{time.Millisecond, 0} {
			w.script.gate = make(chan struct{})
			w.script.onRun = nil
			w.busy()
			as := w.doAll("a b")
			w.script.onRun = func(items []*item) Report {
				w.script.runAll(items)
				return Report{Commit: took}
			}
			w.release()
			allOK(t, as)
			assert.Equal(t, time.Millisecond, w.pace.once)
		}
		w.script.onRun = func([]*item) Report { return Report{Commit: time.Minute} }
		w.do(t.Context(), "")
		assert.Equal(t, time.Millisecond, w.pace.once, "nor does a member alone")
	})
}

// closedLoop has callers call again as soon as they are answered.
func (w *world) closedLoop(callers, rounds int) {
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				if _, err := w.run(context.Background(), "a"); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// In a bubble the clock stands still while a goroutine runs: what is counted is who comes back, however slow the machine is. Who
// comes first depends on the order in which goroutines run, and with it the size of the cohorts. So many loops are counted.
func TestAnticipationMakesOneGroupOfTwoCohorts(t *testing.T) {
	const rounds, loops = 100, 6
	for _, callers := range []int{8, 64} {
		t.Run(strconv.Itoa(callers), func(t *testing.T) {
			mean := map[time.Duration]float64{}
			for _, known := range []time.Duration{0, time.Millisecond} {
				for range loops {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, nil)
						w.script.onRun = func(items []*item) Report {
							time.Sleep(time.Millisecond)
							w.script.runAll(items)
							return Report{Commit: known}
						}
						w.closedLoop(callers, rounds)
						s := w.Stats()
						assert.LessOrEqual(t, s.MaxGroup, callers)
						mean[known] += s.MeanGroup() / float64(callers) / loops
					})
				}
			}
			assert.GreaterOrEqual(t, mean[time.Millisecond], 0.9, "with anticipation")
			// 0.5 with 64 callers; with 8 now and then all come together.
			assert.InDelta(t, 0.55, mean[0], 0.13, "where the commit is not known, and no caller is waited for")
		})
	}
}

// The clock stands still while a goroutine runs: a caller that is made to wait for others waits for ever.
func TestAnticipationDoesNotMakeALoneCallerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		as := w.doAll("a b c d e f g h")
		w.script.onRun = func(items []*item) Report {
			if len(items) > 1 {
				time.Sleep(time.Second)
			}
			w.script.runAll(items)
			return Report{Commit: time.Second}
		}
		w.release()
		allOK(t, as)
		time.Sleep(yieldMost)
		start := time.Now()
		for range 100 {
			_, err := w.run(t.Context(), "lone")
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start))
	})
}

// A lone caller leads at once. That it comes after all time to wait is over says that it did not come back in time.
func TestACallerThatComesWhenTheTimeIsOverIsNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.pace = pace{once: time.Millisecond, returns: 1, told: 1, at: time.Now(), groups: 1}
		for range 10 {
			time.Sleep(time.Second)
			_, err := w.run(t.Context(), "lone")
			require.NoError(t, err)
		}
		assert.Zero(t, w.pace.expected())
	})
}

func TestCallersWhoseReturnTakesLongerThanACommitStayTwoCohorts(t *testing.T) {
	p := pace{once: time.Millisecond, returns: 1, told: 60, present: 40, groups: 1}
	for _, story := range []struct {
		comeback time.Duration
		share    int
	}{{20 * time.Microsecond, 0}, {21 * time.Microsecond, 50}} {
		p.comeback = story.comeback
		if story.share == 0 {
			assert.False(t, p.cohorts(100))
			continue
		}
		assert.Equal(t, story.share, p.share())
	}
	p.groups = yieldAgain
	assert.Greater(t, p.share(), 100, "what was learned is tried again")
	p.returns = 0.5
	assert.Equal(t, 60, p.expected(), "and that, too")
	p.groups++
	assert.Equal(t, 30, p.expected())

	synctest.Test(t, func(t *testing.T) {
		var reasons []Reason
		w := newWorld(t, func(l *Limits[item]) { l.OnGroup = func(g Info[item]) { reasons = append(reasons, g.Reason) } })
		w.busy()
		as := w.doAll("a b c d e f")
		w.pace = pace{once: time.Millisecond, comeback: time.Second, returns: 0}
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group a b c", "group d e", "alone f"}, w.script.ran())
		assert.Equal(t, []Reason{Drained, Halved, Halved, Drained}, reasons)
	})
}

func TestWithADelayOnlySizeOrTimeEndsTheWait(t *testing.T) {
	for name, full := range map[string]func(*Limits[item]){
		"MaxLen":   func(l *Limits[item]) { l.MaxLen = 3 },
		"MaxBytes": func(l *Limits[item]) { l.MaxBytes = 3 },
		"MaxQueue": func(l *Limits[item]) { l.MaxQueue = 3 },
	} {
		t.Run("size, by "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(l *Limits[item]) { l.MaxDelay = time.Hour; full(l) })
				start := time.Now()
				allOK(t, w.doAll("a b c"))
				assert.Zero(t, time.Since(start), "the group waited on though no member could join it any more")
				assert.Equal(t, []string{"group a b c"}, w.script.ran())
			})
		})
	}
	t.Run("size, of a group that is full already", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(l *Limits[item]) { l.MaxDelay, l.MaxLen = time.Hour, 2 })
			start := time.Now()
			as := w.doAll("plug a b c")
			close(w.script.gate)
			allOK(t, as)
			assert.Zero(t, time.Since(start))
			assert.Equal(t, []string{"group plug a", "group b c"}, w.script.ran())
		})
	})
	t.Run("time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(l *Limits[item]) { l.MaxDelay = time.Minute })
			start := time.Now()
			a := w.do(t.Context(), "a")
			time.Sleep(40 * time.Second)
			b := w.do(t.Context(), "b")
			allOK(t, []*answer{a, b})
			assert.Equal(t, time.Minute, time.Since(start))
			assert.Equal(t, []string{"group a b"}, w.script.ran())
		})
	})
}

func TestALingeringLeaderWhoseContextEndsIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxDelay = time.Hour })
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		a, b, c := w.do(ctx, "a"), w.do(t.Context(), "b"), w.do(t.Context(), "c")
		time.Sleep(time.Minute)
		cancel()
		a.fails(t, context.Canceled)
		allOK(t, []*answer{b, c})
		assert.Equal(t, []string{"group b c"}, w.script.ran())
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestCloseDoesNotWaitForADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxDelay = time.Hour })
		start := time.Now()
		as := w.doAll("a b")
		c := w.submit(t.Context(), "c")
		w.Close()
		allOK(t, as)
		c.ok(t)
		assert.Zero(t, time.Since(start))
	})
	synctest.Test(t, func(t *testing.T) { // nor does the leader after the one that was told
		w := newWorld(t, func(l *Limits[item]) { l.MaxDelay, l.MaxLen = time.Hour, 2 })
		start := time.Now()
		as := append(w.doAll("plug b"), w.do(t.Context(), "c"))
		go w.Close()
		synctest.Wait()
		close(w.script.gate)
		allOK(t, as)
		assert.Zero(t, time.Since(start))
	})
}
