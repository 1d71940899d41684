package group

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMaxLenIsReachedAndNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reasons []Reason
		w := newWorld(t, func(l *Limits[item]) {
			l.MaxLen = 3
			l.OnGroup = func(g Info[item]) { reasons = append(reasons, g.Reason) }
		})
		w.busy()
		as := w.doAll("a b c d e f g h")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group a b c", "group d e f", "group g h"}, w.script.ran())
		assert.Equal(t, []Reason{Drained, Full, Full, Drained}, reasons)
	})
}

func TestMaxLenOfOneTurnsGroupsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxLen = 1 })
		w.busy()
		as := w.doAll("a b c")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"alone a", "alone b", "alone c"}, w.script.ran())
	})
}

func TestMaxBytesEndsAGroupAndALargerMemberGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxBytes = 6 })
		w.busy()
		as := w.doAll("aaa bbb ccc larger-than-all dd eeee f")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group aaa bbb", "alone ccc", "alone larger-than-all", "group dd eeee", "alone f"}, w.script.ran())
		assert.EqualValues(t, 4, w.Stats().FullBytes)
		assert.Zero(t, w.bytes)
	})
}

func TestAFullQueueGivesRoomFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue, l.MaxLen = 2, 2 })
		w.busy()
		as := w.doAll("a b c")
		var d *item
		go func() { d = w.submit(t.Context(), "d") }()
		synctest.Wait()
		assert.Nil(t, d, "Go did not wait for room")
		assert.False(t, w.HasRoom())
		as = append(as, w.doAll("e f")...)
		assert.Equal(t, 2, w.queue.n)
		assert.Equal(t, 4, w.backlog.n)
		assert.Equal(t, 1, w.leaders)
		w.release()
		allOK(t, as)
		synctest.Wait()
		d.ok(t)
		assert.Equal(t, []string{"group a b", "group c d", "group e f"}, w.script.ran())
		assert.True(t, w.HasRoom())
		assert.Zero(t, w.leaders)
	})
}

func TestAMemberThatWaitsForRoomHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 1 })
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a := w.do(t.Context(), "a")
		b := w.do(ctx, "b")
		var c *item
		settled := false
		go func() { c = w.submit(ctx, "c"); settled = c.Settled() }()
		synctest.Wait()
		require.Nil(t, c, "Go did not wait for room")
		d := w.do(t.Context(), "d")
		cancel()
		b.fails(t, context.Canceled)
		synctest.Wait()
		require.NotNil(t, c, "Go did not return")
		assert.True(t, settled, "Go returned before the member was settled")
		c.fails(t, context.Canceled)
		w.release()
		allOK(t, []*answer{a, d})
		assert.Equal(t, []string{"alone a", "alone d"}, w.script.ran())
		assert.EqualValues(t, 2, w.Stats().Withdrawn)
	})
}

func TestWithdrawingAQueuedMemberGivesItsRoomAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 2 })
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a, b := w.do(t.Context(), "a"), w.do(ctx, "b")
		var c *item
		go func() { c = w.submit(t.Context(), "c") }()
		synctest.Wait()
		require.Nil(t, c, "Go did not wait for room")
		cancel()
		b.fails(t, context.Canceled)
		synctest.Wait()
		require.NotNil(t, c, "there is room, and Go waits on")
		assert.False(t, c.Settled())
		assert.Equal(t, 2, w.queue.n)
		w.release()
		a.ok(t)
		c.ok(t)
		assert.Equal(t, []string{"group a c"}, w.script.ran())
	})
}

func TestAContextThatEndsBeforeTheClaimWithdrawsTheMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.busy()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, b, c := w.do(t.Context(), "a"), w.do(ctx, "b"), w.do(t.Context(), "c")
		d := w.submit(ctx, "d")
		b.fails(t, context.DeadlineExceeded)
		d.fails(t, context.DeadlineExceeded)
		w.release()
		allOK(t, []*answer{a, c})
		assert.Equal(t, []string{"group a c"}, w.script.ran())
		_, err := w.run(ctx, "e")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		w.submit(ctx, "f").fails(t, context.DeadlineExceeded)
		assert.EqualValues(t, 5, w.Stats().Members, "it was not even queued")
		assert.Len(t, w.script.ran(), 1, "a member whose context had ended was run")
		w.Close()
	})
}

func TestAContextThatEndsAfterTheClaimChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		committing := make(chan struct{})
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a, b := w.do(ctx, "a"), w.do(ctx, "bb")
		c := w.submit(ctx, "ccc")
		w.script.onRun = func(items []*item) Report {
			<-committing
			w.script.runAll(items)
			return Report{}
		}
		w.release()
		synctest.Wait()
		cancel()
		synctest.Wait()
		assert.False(t, isOver(a.over), "the leader did not wait for its answer")
		assert.False(t, isOver(b.over), "a caller did not wait for its answer")
		assert.False(t, c.Settled(), "a detached member did not wait for its answer")
		close(committing)
		allOK(t, []*answer{a, b})
		c.ok(t)
	})
}

func TestNoMemberWaitsForEverBehindAGroupThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.setWait(time.Second)
		w.busy()
		started := time.Now()
		first := w.do(t.Context(), "a")
		time.Sleep(500 * time.Millisecond)
		second := w.submit(t.Context(), "b")
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		assert.False(t, isOver(first.over))
		await(t, first.over)
		assert.Equal(t, time.Second, time.Since(started))
		first.fails(t, errImpatient)
		assert.False(t, second.Settled())
		await(t, second.Done())
		assert.Equal(t, 1500*time.Millisecond, time.Since(started))
		second.fails(t, errImpatient)
		w.release()
		w.Close()
		assert.Empty(t, w.script.ran())
	})
}

func TestAMemberWaitsForAsLongAsThePatienceThatThereIsThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.setWait(time.Second)
		w.do(t.Context(), "a").ok(t)
		w.script.setWait(time.Minute)
		w.busy()
		time.Sleep(50 * time.Second)
		b := w.do(t.Context(), "b")
		time.Sleep(20 * time.Second)
		w.release()
		b.ok(t)
		w.Close()
	})
}

func TestAPatienceThatHasBecomeShorterHoldsForTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.script.setWait(time.Minute)
		w.do(t.Context(), "a").ok(t)
		w.script.setWait(time.Second)
		w.busy()
		started := time.Now()
		b := w.do(t.Context(), "b")
		await(t, b.over)
		assert.Equal(t, time.Second, time.Since(started))
		b.fails(t, errImpatient)
		w.release()
		w.Close()
	})
}

func TestPatienceBeginsAnewWithEachGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxLen = 1 })
		w.script.setWait(time.Second)
		w.script.onRun = func(items []*item) Report {
			time.Sleep(600 * time.Millisecond)
			w.script.runAll(items)
			return Report{}
		}
		allOK(t, w.doAll("a b c d"))
		w.Close()
	})
}

func TestReservedRoomIsNotForMembersUntilItIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 2 })
		w.Reserve(2)
		assert.False(t, w.HasRoom())
		a, b := w.do(t.Context(), "a"), w.do(t.Context(), "b")
		assert.Equal(t, 2, w.backlog.n, "a member has taken room that was not there")
		assert.Empty(t, w.script.ran())
		w.Reserve(-1)
		allOK(t, []*answer{a, b})
		assert.Equal(t, []string{"alone a", "alone b"}, w.script.ran())
		w.Reserve(-1)
		w.busy()
		as := w.doAll("c d e")
		assert.Equal(t, 2, w.queue.n)
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"alone a", "alone b", "group c d", "alone e"}, w.script.ran())
		assert.Zero(t, w.reserved)
	})
}

func TestCloseAnswersWhatWasAcceptedAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 2 })
		w.busy()
		as := w.doAll("a b c d")
		closed := false
		go func() { w.Close(); closed = true }()
		synctest.Wait()
		w.do(t.Context(), "late").fails(t, errClosed)
		w.submit(t.Context(), "late").fails(t, errClosed)
		assert.False(t, w.Accept())
		assert.False(t, closed, "Close did not wait")
		w.release()
		allOK(t, as)
		synctest.Wait()
		assert.True(t, closed)
		assert.Equal(t, []string{"group a b", "group c d"}, w.script.ran())
	})
}

func TestCloseWaitsForWhatNoGroupRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		require.True(t, w.Accept())
		closed := false
		go func() { w.Close(); closed = true }()
		synctest.Wait()
		w.Hold()
		w.Release()
		synctest.Wait()
		assert.False(t, closed, "what was accepted is not over")
		late := &item{text: "late"}
		late.Init(late, t.Context(), 0)
		require.NoError(t, w.GoAccepted(&late.Slot, late), "it was accepted before")
		late.ok(t)
		w.Release()
		synctest.Wait()
		assert.True(t, closed)
	})
}

func TestTheDetachedMembersOfOneGoroutineAreRunInOrder(t *testing.T) {
	w := newWorld(t, func(l *Limits[item]) { l.MaxLen, l.MaxQueue = 7, 11 })
	var want strings.Builder
	var last *item
	for i := range 200 {
		text := strconv.Itoa(i)
		want.WriteString(" " + text)
		last = w.submit(t.Context(), text)
	}
	last.ok(t)
	w.Close()
	var got string
	for _, line := range w.script.ran() {
		_, texts, _ := strings.Cut(line, " ")
		got += " " + texts
	}
	assert.Equal(t, want.String(), got)
}

func TestADetachedMemberIsSettledOnce(t *testing.T) {
	w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 1 }) // a second Settle would close a closed channel
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		it := &item{text: strconv.Itoa(i)}
		it.Done()
		w.submitItem(ctx, it)
		<-it.Done()
		assert.Equal(t, it.Err() == nil, it.answer == it.text)
		cancel()
	}
	w.Close()
}

// watched is a context that counts the watches over it.
type watched struct {
	context.Context
	now, ever *atomic.Int32
}

func (c watched) AfterFunc(f func()) (stop func() bool) {
	c.now.Add(1)
	c.ever.Add(1)
	stopped := context.AfterFunc(c.Context, f)
	return func() bool {
		c.now.Add(-1)
		return stopped()
	}
}

func (c watched) Value(any) any { return nil } // or package context would go around it

func TestNoWatchStaysOverAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx := watched{parent, new(atomic.Int32), new(atomic.Int32)}
		w := newWorld(t, nil)
		w.script.setWait(time.Second)
		for _, end := range []End{Answered, PutOff, Kept} {
			w.submitItem(ctx, &item{text: "a", end: end})
			synctest.Wait()
		}
		w.Release()
		w.busy()
		w.submit(ctx, "b").fails(t, errImpatient)
		w.release()
		w.Close()
		w.submit(ctx, "c").fails(t, errClosed)
		synctest.Wait()
		assert.EqualValues(t, 5, ctx.ever.Load())
		assert.Zero(t, ctx.now.Load())
	})
}

// hurried is a context that ends as soon as it is watched: the watch looks before there is anything to withdraw.
type hurried struct {
	watched
	cancel context.CancelFunc
}

func (c hurried) AfterFunc(func()) (stop func() bool) {
	c.cancel()
	return func() bool { return false }
}

func TestAContextThatEndsWhileTheMemberIsBeingQueuedWithdrawsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits[item]) { l.MaxQueue = 1 })
		w.busy()
		for range 2 { // one for the queue, one for the backlog
			ctx, cancel := context.WithCancel(t.Context())
			w.submit(hurried{watched{Context: ctx}, cancel}, "a").fails(t, context.Canceled)
			w.do(t.Context(), "b")
		}
		w.release()
		w.Close()
		assert.Equal(t, []string{"alone b", "alone b"}, w.script.ran())
	})
}

func TestASlotThatIsUsedAgainCostsNothing(t *testing.T) {
	w := newWorld(t, nil)
	i := &item{}
	q := New[item](quiet{w.script}, w.limits)
	allocs := testing.AllocsPerRun(1000, func() {
		i.Init(i, context.Background(), 1)
		if err := q.Do(&i.Slot); err != nil {
			t.Fatal(err)
		}
	})
	assert.Zero(t, allocs)
	i.Clear()
	assert.Equal(t, Slot[item]{wake: i.wake}, i.Slot)
	assert.NotNil(t, i.wake)
}

// quiet writes nothing down.
type quiet struct{ *script }

func (quiet) Run([]*item) Report { return Report{} }
