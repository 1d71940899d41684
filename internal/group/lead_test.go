package group

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALoneCallerIsRunByItself(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.WithValue(t.Context(), w, "the caller's own")
	w.script.onRun = func(items []*item) Report {
		assert.Equal(t, ctx, items[0].Context())
		items[0].answer = "by goroutine " + goroutine()
		return Report{}
	}
	for range 10 {
		answer, err := w.run(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, "by goroutine "+goroutine(), answer)
	}
	assert.Len(t, w.script.ran(), 10)
	assert.EqualValues(t, 10, w.Stats().Alone)
	assert.Zero(t, w.script.inside, "a turn was not given back")
}

func TestCallersThatComeWhileAGroupCommitsFormTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		as := w.doAll("a bb ccc dddd")
		assert.Equal(t, 4, w.Stats().Queued)
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group a bb ccc dddd"}, w.script.ran())
		s := w.Stats()
		assert.EqualValues(t, 5, s.Members)
		assert.EqualValues(t, 2, s.Groups)
		assert.Equal(t, 4, s.MaxGroup)
		assert.InDelta(t, 2.5, s.MeanGroup(), 0)
		assert.Zero(t, s.Queued)
	})
}

func TestALeaderWhoseContextEndsWhileItWaitsForTheTurnHandsTheLeadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		free := make(chan struct{})
		w.script.onEnter = func(ctx context.Context) error {
			select {
			case <-free:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		a := w.do(ctx, "a")
		p := w.submit(ctx, "p") // next to lead, and will not
		b, c := w.do(t.Context(), "b"), w.do(t.Context(), "c")
		cancel()
		a.fails(t, context.Canceled)
		p.fails(t, context.Canceled)
		close(free)
		allOK(t, []*answer{b, c})
		assert.Equal(t, []string{"group b c"}, w.script.ran())
	})
}

func TestATurnThatIsRefusedHitsOnlyThatMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		a, p, c := w.do(t.Context(), "a"), w.submit(t.Context(), "p"), w.doAll("c d")
		busy, refusals := errors.New("database is locked"), 2
		w.script.onEnter = func(context.Context) error {
			if refusals--; refusals >= 0 {
				return busy
			}
			return nil
		}
		w.release()
		a.fails(t, busy)
		p.fails(t, busy)
		allOK(t, c)
		assert.Equal(t, []string{"group c d"}, w.script.ran())
		w.Close()
	})
}

// runtime.Goexit cannot be stopped: it ends the goroutine of the leader, whose own answer goes with it.
func TestAMemberThatEndsTheLeadersGoroutineLeavesNoneWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		as := w.doAll("leader a goexit b")
		p := w.submit(t.Context(), "c")
		w.release()
		for _, a := range as {
			<-a.over
		}
		<-p.Done()
		assert.False(t, as[0].ended)
		for _, a := range as[1:] {
			assert.True(t, a.ended)
		}
		assert.Empty(t, as[3].answer, "it was not run")
		allOK(t, w.doAll("d"))
		<-w.submit(t.Context(), "goexit detached").Done()
		w.submit(t.Context(), "e").ok(t)
		w.Close()
		assert.Zero(t, w.script.inside, "a turn was not given back")
	})
}

func TestAPanicOfTheRunnerLeavesNoneWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		leader := make(chan any)
		go func() {
			defer func() { leader <- recover() }()
			w.run(t.Context(), "leader")
		}()
		synctest.Wait()
		a := w.do(t.Context(), "a")
		w.script.onRun = func([]*item) Report { panic("boom") }
		close(w.script.gate)
		assert.Equal(t, "boom", <-leader)
		<-a.over
		w.script.onRun = nil
		allOK(t, w.doAll("b"))
		assert.Zero(t, w.script.inside, "a turn was not given back")
		w.Close()
	})
}

func TestALoneMemberMayWaitForOneThatCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.over = 100 * time.Millisecond
		w.script.onRun = func(items []*item) Report {
			if items[0].text == "unplug" {
				close(w.script.gate)
			}
			w.script.runAll(items)
			return Report{}
		}
		w.busy()
		started := time.Now()
		unplug := w.do(t.Context(), "unplug")
		unplug.ok(t)
		w.plug.ok(t)
		assert.Equal(t, w.script.over, time.Since(started))
		w.doAll("a b")
		w.Close()
		assert.Zero(t, w.leaders)
	})
}

func TestALoneMemberThatHasLostTheLeadDoesNotHandItOnAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.over = 100 * time.Millisecond
		over := make(chan struct{})
		w.script.onRun = func(items []*item) Report {
			if items[0].text == "slow" {
				<-over
			}
			w.script.runAll(items)
			return Report{}
		}
		w.busy()
		slow := w.do(t.Context(), "slow")
		time.Sleep(3 * w.script.over / 2)
		w.release()
		late := w.do(t.Context(), "late")
		assert.Equal(t, []string{"alone slow"}, w.script.ran(), "there are two leaders")
		close(over)
		allOK(t, []*answer{slow, late})
	})
}

func TestALoneMemberThatIsOverSoonKeepsTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.over = 100 * time.Millisecond
		w.busy()
		as := w.doAll("a b c")
		time.Sleep(w.script.over - 1)
		synctest.Wait()
		require.Empty(t, w.script.ran())
		w.release()
		allOK(t, as)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"group a b c"}, w.script.ran())
		assert.Zero(t, w.leaders)
	})
}

func TestAMemberThatIsPutOffIsRunWhenItsGroupIsOverByItsOwnCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		leader := w.doItem(t.Context(), &item{text: "leader", end: PutOff})
		a, c := w.doItem(t.Context(), &item{text: "a", end: PutOff}), w.do(t.Context(), "c")
		p := w.submitItem(t.Context(), &item{text: "p", end: PutOff})
		w.script.onRun = func(items []*item) Report {
			for _, i := range items {
				if i.end == Answered {
					w.script.run(i)
				}
			}
			return Report{}
		}
		w.release()
		allOK(t, []*answer{leader, a, c})
		p.ok(t)
		assert.Equal(t, "group leader a c p", w.script.ran()[0])
		assert.ElementsMatch(t, []string{"apart leader", "apart a", "apart p"}, w.script.ran()[1:])
		gone := w.submitItem(t.Context(), &item{text: "goexit", end: PutOff})
		<-gone.Done()
		w.Close()
	})
}

func TestAMemberThatIsKeptIsItsRunners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := w.do(t.Context(), "a")
		kept := w.submitItem(ctx, &item{text: "kept", end: Kept})
		p := w.submit(t.Context(), "p")
		then := make(chan struct{})
		told := 0
		w.script.onRun = func(items []*item) Report {
			w.script.runAll(items)
			return Report{Then: func() {
				<-a.over // it is not the leader that calls
				for _, s := range []bool{a.answer == "a", p.Settled()} {
					if s {
						told++
					}
				}
				close(then)
			}}
		}
		w.release()
		allOK(t, []*answer{a})
		p.ok(t)
		<-then
		assert.Equal(t, 2, told, "Then was called before all were told")
		cancel()
		closed := false
		go func() { w.Close(); closed = true }()
		synctest.Wait()
		assert.False(t, kept.Settled())
		assert.False(t, closed, "a kept member is not over")
		w.Release()
		synctest.Wait()
		assert.True(t, closed)
	})
}

func TestAKeptMemberMayBeQueuedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 1 })
		i := &item{text: "a", end: Kept}
		for range 3 {
			w.script.gate = make(chan struct{})
			w.busy()
			b := w.do(t.Context(), "b")
			back := false
			go func() { w.submitItem(context.Background(), i); back = true }()
			synctest.Wait()
			require.False(t, back, "Go did not wait for room")
			w.release()
			b.ok(t)
			synctest.Wait()
			require.True(t, back)
			require.False(t, i.Settled())
			require.True(t, i.Claimed())
			w.Release()
		}
		i.end = Answered
		w.submitItem(context.Background(), i)
		i.ok(t)
		w.Close()
	})
}

func TestThenIsCalledAlsoIfOnGroupPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.OnGroup = func(Info[item]) { panic("boom") } })
		then := make(chan struct{})
		w.script.onRun = func([]*item) Report { return Report{Then: func() { close(then) }} }
		assert.PanicsWithValue(t, "boom", func() { w.run(t.Context(), "a") })
		<-then
		w.Close()
	})
}

func TestOnGroupIsCalledAfterTheRunAndBeforeTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var infos []Info[item]
		var ages []time.Duration // of the last group's members
		var as []*answer
		w := newWorld(t, func(l *Limits[item]) {
			l.OnGroup = func(g Info[item]) {
				for _, i := range g.Members {
					assert.Equal(t, i.text, i.answer)
				}
				for _, a := range as {
					assert.False(t, isOver(a.over))
				}
				ages = nil
				for i := range g.Members {
					ages = append(ages, time.Since(g.Since(i)))
				}
				g.Members, g.slots = append([]*item(nil), g.Members...), nil
				infos = append(infos, g)
			}
		})
		w.busy()
		a := w.do(t.Context(), "a")
		time.Sleep(time.Second)
		assert.Equal(t, time.Second, w.Stats().Oldest)
		as = []*answer{a, w.do(t.Context(), "b")}
		w.script.onRun = func(items []*item) Report {
			time.Sleep(time.Minute)
			w.script.runAll(items)
			return Report{Reruns: 2, Commit: time.Millisecond}
		}
		w.release()
		allOK(t, as)
		assert.Equal(t, Info[item]{Members: []*item{as[0].item, as[1].item}, Reruns: 2, Waited: time.Second, Took: time.Minute}, infos[1])
		assert.Equal(t, []time.Duration{time.Second + time.Minute, time.Minute}, ages)
		assert.EqualValues(t, 2, w.Stats().Reruns)
		s := w.Stats()
		assert.Equal(t, time.Second, s.Waited)
		assert.Zero(t, s.Oldest)
		assert.EqualValues(t, 2, s.Sizes.Count())
		assert.EqualValues(t, 3, s.Sizes.Sum())
		assert.EqualValues(t, time.Second, s.Waits.Sum())
		assert.EqualValues(t, time.Millisecond, s.Commits.Sum(), "a group of one is no group's commit")
		assert.EqualValues(t, 3, s.Latencies.Count())
		assert.EqualValues(t, time.Second+2*time.Minute+time.Second, s.Latencies.Sum(), "of the first, of a and of b")
	})
}

// A panic of the runner's before a group is claimed is its leader's. It takes no room in the queue for ever.
func TestALeaderWhoseTurnPanicsLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 1 })
		w.script.onEnter = func(context.Context) error { panic("Enter") }
		assert.PanicsWithValue(t, "Enter", func() { w.run(t.Context(), "a") })
		w.script.onEnter = nil
		_, err := w.run(t.Context(), "b")
		require.NoError(t, err)
		assert.Zero(t, w.present.n)
		assert.Zero(t, w.size())
	})
}
