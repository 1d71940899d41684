package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeEnv is a batcher's world without a database: it writes down what it is asked, and does what the story says.
type fakeEnv struct {
	mu     sync.Mutex
	log    []string
	inside int           // turns held now
	wait   time.Duration // patience
	over   time.Duration // overtime
	gate   chan struct{} // a call "plug" keeps the turn until it is closed

	onEnter  func(ctx context.Context) error
	onAlone  func(c *call)
	onCommit func(calls []*call) engine.Outcome
}

func (e *fakeEnv) enter(ctx context.Context, _ time.Time) error {
	if e.onEnter != nil {
		if err := e.onEnter(ctx); err != nil {
			return err
		}
	}
	e.turn(+1)
	return nil
}

func (e *fakeEnv) leave() { e.turn(-1) }

func (e *fakeEnv) patience() (time.Duration, error) { return e.wait, errImpatient }

func (e *fakeEnv) overtime() time.Duration { return e.over }

var errImpatient = errors.New("waited for too long")

func (e *fakeEnv) turn(by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inside += by; e.over == 0 && e.inside != 0 && e.inside != 1 {
		panic(fmt.Sprintf("%d turns at once", e.inside))
	}
}

func (e *fakeEnv) alone(c *call) {
	e.note("alone", c)
	if e.onAlone != nil {
		e.onAlone(c)
		return
	}
	c.Try(e.run)
}

func (e *fakeEnv) apart(c *call) {
	e.mu.Lock()
	e.log = append(e.log, "apart "+c.Query)
	e.mu.Unlock()
	c.Try(e.run)
}

func (e *fakeEnv) commit(calls []*call) engine.Outcome {
	e.note("group", calls...)
	if e.onCommit != nil {
		return e.onCommit(calls)
	}
	for i, c := range calls {
		if !c.Try(e.run) {
			return engine.Outcome{Verdict: engine.RolledBack, Culprit: i}
		}
	}
	return engine.Outcome{}
}

// run is a statement: its query says what it does.
func (e *fakeEnv) run(c *Call) (driver.Result, error) {
	switch {
	case c.Query == "plug":
		<-e.gate
	case strings.HasPrefix(c.Query, "panic"):
		panic(c.Query)
	case strings.HasPrefix(c.Query, "goexit"):
		runtime.Goexit()
	}
	return resultOf(c.Query), nil
}

// resultOf has the text's length for an id, so that a result that went to another caller shows.
type resultOf string

func (r resultOf) LastInsertId() (int64, error) { return int64(len(r)), nil }
func (r resultOf) RowsAffected() (int64, error) { return 1, nil }

func (e *fakeEnv) note(what string, calls ...*call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inside < 1 {
		what += " without a turn"
	}
	for _, c := range calls {
		what += " " + c.Query
	}
	e.log = append(e.log, what)
}

// ran is what was run, without the plug.
func (e *fakeEnv) ran() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var log []string
	for _, line := range e.log {
		if line != "alone plug" {
			log = append(log, line)
		}
	}
	return log
}

// world is a batcher in a fake environment.
type world struct {
	*batcher
	t    *testing.T
	env  *fakeEnv
	plug *answer
}

func newWorld(t *testing.T, opts ...Option) *world {
	l, err := defaults.with(opts)
	require.NoError(t, err)
	env := &fakeEnv{gate: make(chan struct{})}
	return &world{batcher: newBatcher(env, l), t: t, env: env}
}

func TestNobodyWaitsForEverBehindAGroupThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.env.wait = time.Second
		w.busy()
		started := time.Now()
		first := w.exec(t.Context(), "a")
		time.Sleep(500 * time.Millisecond)
		second := w.promise(t.Context(), "b")
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		assert.False(t, isOver(first.over))
		<-first.over
		assert.Equal(t, time.Second, time.Since(started))
		assert.ErrorIs(t, first.err, errImpatient)
		assert.False(t, isOver(second.Done()))
		<-second.Done()
		assert.Equal(t, 1500*time.Millisecond, time.Since(started))
		_, err := second.Await(t.Context())
		assert.ErrorIs(t, err, errImpatient)
		w.release()
		w.close()
		assert.Empty(t, w.env.ran())
	})
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// busy has a lone call keep the batcher busy until release.
func (w *world) busy()    { w.plug = w.exec(w.t.Context(), "plug") }
func (w *world) release() { close(w.env.gate); w.plug.ok(w.t) }

// answer is what a caller got, once over is closed.
type answer struct {
	query    string
	over     chan struct{}
	ended    bool // regularly: not by a panic or runtime.Goexit
	res      driver.Result
	err      error
	panicked any
}

// run is a blocking Exec.
func (w *world) run(ctx context.Context, query string) (driver.Result, error) {
	c := w.call()
	c.Call = engine.NewCall(ctx, query, nil, false)
	err := w.do(c)
	out := c.Outcome()
	w.free(c)
	if err != nil {
		return nil, err
	}
	return out.Get()
}

// exec has a goroutine of its own run query; it has come as far as it can when exec returns.
func (w *world) exec(ctx context.Context, query string) *answer {
	a := &answer{query: query, over: make(chan struct{})}
	go func() {
		defer close(a.over)
		defer func() { a.panicked = recover() }()
		a.res, a.err = w.run(ctx, query)
		a.ended = true
	}()
	synctest.Wait()
	return a
}

func (w *world) execs(queries string) (as []*answer) {
	for _, q := range strings.Fields(queries) {
		as = append(as, w.exec(w.t.Context(), q))
	}
	return as
}

// promise submits query as Go does.
func (w *world) promise(ctx context.Context, query string) *Promise {
	p := &Promise{batch: w.batcher}
	p.call = call{Call: engine.NewCall(ctx, query, nil, false), promise: p}
	w.submit(p)
	return p
}

func (a *answer) ok(t *testing.T) {
	t.Helper()
	<-a.over
	require.NoError(t, a.err, a.query)
	require.Nil(t, a.panicked, a.query)
	require.True(t, a.ended, a.query)
	id, _ := a.res.LastInsertId()
	require.EqualValues(t, len(a.query), id, "the result of another call")
}

func (a *answer) fails(t *testing.T, err error) {
	t.Helper()
	<-a.over
	require.ErrorIs(t, a.err, err, a.query)
}

func allOK(t *testing.T, as []*answer) {
	t.Helper()
	for _, a := range as {
		a.ok(t)
	}
}

func goroutine() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

func TestALoneCallerIsRunByItself(t *testing.T) {
	w := newWorld(t)
	ctx := context.WithValue(t.Context(), w, "the caller's own")
	w.env.onAlone = func(c *call) {
		assert.Equal(t, ctx, c.Context())
		c.Answer(resultOf(c.Query), errors.New("by goroutine "+goroutine()))
	}
	for range 10 {
		_, err := w.run(ctx, "a")
		require.EqualError(t, err, "by goroutine "+goroutine())
	}
	assert.Len(t, w.env.ran(), 10)
	assert.EqualValues(t, 10, w.snapshot().Alone)
	assert.Zero(t, w.env.inside, "a turn was not given back")
}

func TestCallersThatComeWhileAGroupCommitsFormTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.busy()
		as := w.execs("a bb ccc dddd")
		assert.Equal(t, 4, w.snapshot().Queued)
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group a bb ccc dddd"}, w.env.ran())
		s := w.snapshot()
		assert.EqualValues(t, 5, s.Calls)
		assert.EqualValues(t, 2, s.Groups)
		assert.Equal(t, 4, s.MaxGroup)
		assert.InDelta(t, 2.5, s.MeanGroup(), 0)
		assert.Zero(t, s.Queued)
	})
}

func TestMaxLenIsReachedAndNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reasons []Reason
		w := newWorld(t, MaxLen(3), OnGroup(func(g GroupInfo) { reasons = append(reasons, g.Reason) }))
		w.busy()
		as := w.execs("a b c d e f g h")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group a b c", "group d e f", "group g h"}, w.env.ran())
		assert.Equal(t, []Reason{Drained, Full, Full, Drained}, reasons)
	})
}

func TestMaxLenOfOneTurnsBatchingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxLen(1))
		w.busy()
		as := w.execs("a b c")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"alone a", "alone b", "alone c"}, w.env.ran())
	})
}

func TestMaxBytesEndsAGroupAndALargerCallGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxBytes(6))
		w.busy()
		as := w.execs("aaa bbb ccc larger-than-all dd eeee f")
		w.release()
		allOK(t, as)
		assert.Equal(t, []string{"group aaa bbb", "alone ccc", "alone larger-than-all", "group dd eeee", "alone f"}, w.env.ran())
		assert.EqualValues(t, 4, w.snapshot().FullBytes)
	})
}

func TestAFullQueueGivesRoomFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxQueue(2), MaxLen(2))
		w.busy()
		as := w.execs("a b c")
		returned := false
		var p *Promise
		go func() { p = w.promise(t.Context(), "d"); returned = true }()
		synctest.Wait()
		assert.False(t, returned, "Go did not wait for room")
		as = append(as, w.execs("e f")...)
		assert.Equal(t, 2, w.queue.n)
		assert.Equal(t, 4, w.backlog.n)
		w.release()
		allOK(t, as)
		synctest.Wait()
		assert.Equal(t, durable.Resolved, p.State())
		assert.Equal(t, []string{"group a b", "group c d", "group e f"}, w.env.ran())
	})
}

func TestACallThatWaitsForRoomHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxQueue(1))
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a := w.exec(t.Context(), "a")
		b := w.exec(ctx, "b")
		var p *Promise
		go func() { p = w.promise(ctx, "c") }()
		synctest.Wait()
		require.Nil(t, p, "Go did not wait for room")
		d := w.exec(t.Context(), "d")
		cancel()
		b.fails(t, context.Canceled)
		synctest.Wait()
		require.NotNil(t, p, "Go did not return")
		_, err := p.Await(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		w.release()
		allOK(t, []*answer{a, d})
		assert.Equal(t, []string{"alone a", "alone d"}, w.env.ran())
		assert.EqualValues(t, 2, w.snapshot().Withdrawn)
	})
}

func TestWithdrawingAQueuedCallGivesItsRoomAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxQueue(2))
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a, b := w.exec(t.Context(), "a"), w.exec(ctx, "b")
		var c *Promise
		go func() { c = w.promise(t.Context(), "c") }()
		synctest.Wait()
		require.Nil(t, c, "Go did not wait for room")
		cancel()
		b.fails(t, context.Canceled)
		synctest.Wait()
		require.NotNil(t, c, "there is room, and Go waits on")
		assert.Equal(t, durable.Pending, c.State())
		assert.Equal(t, 2, w.queue.n)
		w.release()
		a.ok(t)
		<-c.Done()
		assert.Equal(t, []string{"group a c"}, w.env.ran())
	})
}

func TestWithADelayOnlySizeOrTimeEndsTheWait(t *testing.T) {
	for name, opt := range map[string]Option{"MaxLen": MaxLen(3), "MaxBytes": MaxBytes(3), "MaxQueue": MaxQueue(3)} {
		t.Run("size, by "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, MaxDelay(time.Hour), opt)
				start := time.Now()
				allOK(t, w.execs("a b c"))
				assert.Zero(t, time.Since(start), "the group waited on though nobody could join it any more")
				assert.Equal(t, []string{"group a b c"}, w.env.ran())
			})
		})
	}
	t.Run("time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, MaxDelay(time.Minute))
			start := time.Now()
			a := w.exec(t.Context(), "a")
			time.Sleep(40 * time.Second)
			b := w.exec(t.Context(), "b")
			allOK(t, []*answer{a, b})
			assert.Equal(t, time.Minute, time.Since(start))
			assert.Equal(t, []string{"group a b"}, w.env.ran())
		})
	})
}

func TestALingeringLeaderWhoseContextEndsIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxDelay(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		a, b, c := w.exec(ctx, "a"), w.exec(t.Context(), "b"), w.exec(t.Context(), "c")
		time.Sleep(time.Minute)
		cancel()
		a.fails(t, context.Canceled)
		allOK(t, []*answer{b, c})
		assert.Equal(t, []string{"group b c"}, w.env.ran())
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestAContextThatEndsBeforeTheClaimWithdrawsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.busy()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, b, c := w.exec(t.Context(), "a"), w.exec(ctx, "b"), w.exec(t.Context(), "c")
		p := w.promise(ctx, "d")
		b.fails(t, context.DeadlineExceeded)
		<-p.Done()
		w.release()
		allOK(t, []*answer{a, c})
		assert.Equal(t, []string{"group a c"}, w.env.ran())
		_, err := w.run(ctx, "e")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, w.env.ran(), 1, "a call whose context had ended was executed")
	})
}

func TestAContextThatEndsAfterTheClaimChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		committing := make(chan struct{})
		w.env.onCommit = func(calls []*call) engine.Outcome {
			<-committing
			for _, c := range calls {
				c.Try(w.env.run)
			}
			return engine.Outcome{}
		}
		w.busy()
		ctx, cancel := context.WithCancel(t.Context())
		a, b := w.exec(ctx, "a"), w.exec(ctx, "bb")
		p := w.promise(ctx, "ccc")
		w.release()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-a.over:
			t.Fatal("the leader did not wait for its outcome")
		case <-b.over:
			t.Fatal("a caller did not wait for its outcome")
		case <-p.Done():
			t.Fatal("a promise did not wait for its outcome")
		default:
		}
		close(committing)
		allOK(t, []*answer{a, b})
		res, err := p.Await(t.Context())
		require.NoError(t, err)
		id, _ := res.LastInsertId()
		assert.EqualValues(t, 3, id)
	})
}

func TestALeaderWhoseContextEndsWhileItWaitsForTheWriterHandsTheLeadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		free := make(chan struct{})
		w.env.onEnter = func(ctx context.Context) error {
			select {
			case <-free:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		a := w.exec(ctx, "a")
		p := w.promise(ctx, "p") // next to lead, and will not
		b, c := w.exec(t.Context(), "b"), w.exec(t.Context(), "c")
		cancel()
		a.fails(t, context.Canceled)
		<-p.Done()
		close(free)
		allOK(t, []*answer{b, c})
		assert.Equal(t, []string{"group b c"}, w.env.ran())
	})
}

func TestAWriterThatRefusesHitsOnlyThatCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.busy()
		a, p, c := w.exec(t.Context(), "a"), w.promise(t.Context(), "p"), w.execs("c d")
		busy, refusals := errors.New("database is locked"), 2
		w.env.onEnter = func(context.Context) error {
			if refusals--; refusals >= 0 {
				return busy
			}
			return nil
		}
		w.release()
		a.fails(t, busy)
		_, err := p.Await(t.Context())
		require.ErrorIs(t, err, busy)
		allOK(t, c)
		assert.Equal(t, []string{"group c d"}, w.env.ran())
	})
}

// answers runs a group of calls for which the environment's verdicts are given; what is left of them is Committed.
func answers(t *testing.T, queries string, verdicts ...engine.Outcome) (*world, []*answer) {
	w := newWorld(t)
	w.env.onCommit = func(calls []*call) (out engine.Outcome) {
		for _, c := range calls {
			c.Answer(resultOf("of an attempt that was rolled back"), nil)
		}
		if len(verdicts) > 0 {
			out, verdicts = verdicts[0], verdicts[1:]
		}
		if out.Verdict == engine.Committed {
			for _, c := range calls {
				c.Try(w.env.run)
			}
		}
		return out
	}
	w.busy()
	as := w.execs(queries)
	w.release()
	for _, a := range as {
		<-a.over
	}
	return w, as
}

func TestARolledBackGroupRunsAgainInOrderWithTheCulpritAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, as := answers(t, "a bb ccc d ee", engine.Outcome{Verdict: engine.RolledBack, Culprit: 2})
		allOK(t, as)
		assert.Equal(t, []string{"group a bb ccc d ee", "group a bb", "alone ccc", "group d ee"}, w.env.ran())
		assert.EqualValues(t, 1, w.snapshot().Reruns)
	})
}

func TestAfterTooManyCulpritsTheRestRunsOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := engine.Outcome{Verdict: engine.RolledBack, Culprit: 0}
		w, as := answers(t, "a b c d e f g", first, first, first, first)
		allOK(t, as)
		assert.Equal(t, []string{
			"group a b c d e f g", "alone a",
			"group b c d e f g", "alone b",
			"group c d e f g", "alone c",
			"group d e f g", "alone d", "alone e", "alone f", "alone g",
		}, w.env.ran())
	})
}

func TestWithoutACulpritEveryoneRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, as := answers(t, "a bb ccc", engine.Outcome{Verdict: engine.RolledBack, Culprit: -1})
		allOK(t, as)
		assert.Equal(t, []string{"group a bb ccc", "alone a", "alone bb", "alone ccc"}, w.env.ran())
	})
}

func TestARefusedGroupIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locked := errors.New("database is locked")
		w, as := answers(t, "a b c", engine.Outcome{Verdict: engine.Refused, Err: locked})
		for _, a := range as {
			a.fails(t, locked)
		}
		assert.Equal(t, []string{"group a b c"}, w.env.ran())
	})
}

func TestAnUnknownOutcomeNeverLooksLikeABadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, as := answers(t, "a b c", engine.Outcome{Verdict: engine.Unknown, Err: fmt.Errorf("commit: %w", driver.ErrBadConn)})
		for _, a := range as {
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, a.err, &unknown)
			require.NotErrorIs(t, a.err, driver.ErrBadConn, "database/sql would run the call again")
			require.ErrorIs(t, unknown.Cause, driver.ErrBadConn)
			require.ErrorContains(t, a.err, "driver: bad connection")
		}
		assert.Equal(t, []string{"group a b c"}, w.env.ran())
	})
}

func TestAPanicOfTheEngineSettlesEverybodyAndTheBatcherGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		boom := errors.New("boom")
		w.env.onCommit = func(calls []*call) engine.Outcome {
			calls[0].Answer(resultOf("not committed"), nil)
			panic(boom)
		}
		w.busy()
		as := w.execs("a b")
		p := w.promise(t.Context(), "c")
		w.release()
		_, err := p.Await(t.Context())
		<-as[0].over
		<-as[1].over
		for _, err := range []error{as[0].err, as[1].err, err} {
			var unknown *OutcomeUnknownError
			require.ErrorAs(t, err, &unknown)
			require.ErrorIs(t, unknown.Cause, boom)
		}
		w.env.onCommit = nil
		allOK(t, w.execs("d"))
		assert.Zero(t, w.env.inside, "a turn was not given back")
	})
}

func TestACallThatPanicsPanicsInItsOwnCallerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.busy()
		as := w.execs("a panic ccc")
		p := w.promise(t.Context(), "panic in a promise")
		w.release()
		as[0].ok(t)
		<-as[1].over
		assert.Equal(t, "panic", as[1].panicked)
		as[2].ok(t)
		_, err := p.Await(t.Context())
		var panicked *PanicError
		require.ErrorAs(t, err, &panicked)
		assert.Equal(t, "panic in a promise", panicked.Value)
		assert.Contains(t, string(panicked.Stack), "fakeEnv")
	})
}

// runtime.Goexit cannot be stopped: it ends the goroutine of the leader, whose own call goes with it.
func TestACallThatEndsTheLeadersGoroutineHurtsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		commits := 0
		w.env.onCommit = func(calls []*call) engine.Outcome {
			for _, c := range calls {
				c.Try(w.env.run)
			}
			commits++
			return engine.Outcome{}
		}
		w.busy()
		as := w.execs("leader a goexit b")
		w.release()
		for _, a := range as {
			<-a.over
		}
		require.Zero(t, commits)
		for _, a := range as[1:] {
			assert.False(t, a.ended && a.err == nil, "%s is told that it was committed, and it was not", a.query)
		}
		allOK(t, w.execs("c"))
	})
}

func TestAfterARollbackNoAnswerOfTheRolledBackAttemptIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, as := answers(t, "leader goexit a b", engine.Outcome{Verdict: engine.RolledBack, Culprit: -1})
		for _, a := range as[1:] {
			assert.False(t, a.ended && a.err == nil, "%s is told that it was committed, and it was not", a.query)
		}
		assert.Equal(t, []string{"group leader goexit a b", "alone leader", "alone goexit"}, w.env.ran())
	})
}

func TestCloseAnswersWhatWasAcceptedAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxQueue(2))
		w.busy()
		as := w.execs("a b c d")
		closed := false
		go func() { w.close(); closed = true }()
		synctest.Wait()
		w.exec(t.Context(), "late").fails(t, ErrClosed)
		_, err := w.promise(t.Context(), "late").Await(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		assert.False(t, closed, "close did not wait")
		w.release()
		allOK(t, as)
		synctest.Wait()
		assert.True(t, closed)
		assert.Equal(t, []string{"group a b", "group c d"}, w.env.ran())
	})
}

func TestCloseDoesNotWaitForADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, MaxDelay(time.Hour))
		start := time.Now()
		as := w.execs("a b")
		p := w.promise(t.Context(), "c")
		w.close()
		allOK(t, as)
		<-p.Done()
		assert.Zero(t, time.Since(start))
	})
	synctest.Test(t, func(t *testing.T) { // nor does the leader after the one that was told
		w := newWorld(t, MaxDelay(time.Hour), MaxLen(2))
		start := time.Now()
		as := append(w.execs("plug b"), w.exec(t.Context(), "c"))
		go w.close()
		synctest.Wait()
		close(w.env.gate)
		allOK(t, as)
		assert.Zero(t, time.Since(start))
	})
}

func TestThePromisesOfOneGoroutineAreExecutedInOrder(t *testing.T) {
	w := newWorld(t, MaxLen(7), MaxQueue(11))
	var want strings.Builder
	var last *Promise
	for i := range 200 {
		q := strconv.Itoa(i)
		want.WriteString(" " + q)
		last = w.promise(t.Context(), q)
	}
	_, err := last.Await(t.Context())
	require.NoError(t, err)
	w.close()
	var got string
	for _, line := range w.env.ran() {
		_, queries, _ := strings.Cut(line, " ")
		got += " " + queries
	}
	assert.Equal(t, want.String(), got)
}

func TestCallersInAClosedLoopShareGroups(t *testing.T) {
	for _, n := range []int{8, 64} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // without anticipation, which needs a real clock
				w := newWorld(t)
				w.env.onAlone = func(c *call) { time.Sleep(time.Millisecond); c.Answer(nil, nil) }
				w.env.onCommit = func([]*call) engine.Outcome { time.Sleep(time.Millisecond); return engine.Outcome{} }
				closedLoop(w, n)
				s := w.snapshot()
				assert.GreaterOrEqual(t, s.MaxGroup, n/2)
				assert.GreaterOrEqual(t, s.MeanGroup(), float64(n)/4)
			})
			w := newWorld(t)
			w.env.onAlone = func(c *call) { time.Sleep(time.Millisecond); c.Answer(nil, nil) }
			w.env.onCommit = func([]*call) engine.Outcome {
				time.Sleep(time.Millisecond)
				return engine.Outcome{Commit: time.Millisecond}
			}
			closedLoop(w, n)
			assert.LessOrEqual(t, w.snapshot().MaxGroup, n)
			assert.Greater(t, w.snapshot().MeanGroup(), 1.0)
		})
	}
}

func closedLoop(w *world, callers int) {
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range 20 {
				_, _ = w.run(context.Background(), "a")
			}
		})
	}
	all.Wait()
}

// In a bubble the clock stands still while anybody runs: a caller that is made to wait for others waits for ever.
func TestAnticipationDoesNotMakeALoneCallerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.env.onCommit = func(calls []*call) engine.Outcome {
			time.Sleep(time.Second)
			return engine.Outcome{Commit: time.Second}
		}
		w.busy()
		as := w.execs("a b c d e f g h")
		w.release()
		for _, a := range as {
			<-a.over
		}
		time.Sleep(yieldMost)
		start := time.Now()
		for range 100 {
			_, err := w.run(t.Context(), "lone")
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start))
	})
}

// stormEnv judges at random, and knows what was executed in the end.
type stormEnv struct {
	fakeEnv
	executed sync.Map // query → how often
}

var errStorm = errors.New("refused")

func (e *stormEnv) enter(ctx context.Context, since time.Time) error {
	if rand.IntN(50) == 0 {
		return errStorm
	}
	return e.fakeEnv.enter(ctx, since)
}

func (e *stormEnv) done(c *Call) {
	if c.Err() == nil {
		n, _ := e.executed.LoadOrStore(c.Query, new(int))
		*n.(*int)++
	}
}

func (e *stormEnv) alone(c *call) {
	if e.over > 0 {
		time.Sleep(time.Duration(rand.IntN(3)) * e.over) // about as long as the lead is kept
	}
	if c.Try(e.run) {
		e.done(&c.Call)
	}
}

func (e *stormEnv) apart(c *call) { e.alone(c) }

func (e *stormEnv) commit(calls []*call) engine.Outcome {
	for i, c := range calls {
		c.Reset()
		if rand.IntN(10) == 0 {
			c.PutOff()
			continue
		}
		if !c.Try(e.run) {
			return engine.Outcome{Verdict: engine.RolledBack, Culprit: i}
		}
		runtime.Gosched()
	}
	switch rand.IntN(12) {
	case 0:
		return engine.Outcome{Verdict: engine.RolledBack, Culprit: rand.IntN(len(calls)+1) - 1}
	case 1:
		return engine.Outcome{Verdict: engine.Refused, Err: errStorm}
	case 2:
		return engine.Outcome{Verdict: engine.Unknown, Err: errStorm}
	case 3:
		panic(errStorm)
	}
	for _, c := range calls {
		if !c.IsPutOff() {
			e.done(&c.Call)
		}
	}
	return engine.Outcome{Commit: time.Duration(rand.IntN(200)) * time.Microsecond}
}

func TestInAStormEveryCallIsAnsweredOnceWithTheTruth(t *testing.T) {
	for name, story := range map[string]struct {
		opts []Option
		over time.Duration
	}{
		"defaults":     {},
		"small groups": {opts: []Option{MaxLen(3)}},
		"small queue":  {opts: []Option{MaxQueue(2), MaxBytes(60)}},
		"delay":        {opts: []Option{MaxDelay(50 * time.Microsecond), MaxLen(4)}},
		"abreast":      {opts: []Option{MaxLen(3)}, over: time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := defaults.with(story.opts)
			require.NoError(t, err)
			env := &stormEnv{fakeEnv: fakeEnv{over: story.over}}
			w := &world{batcher: newBatcher(env, l), t: t}
			var all sync.WaitGroup
			for g := range 16 {
				all.Go(func() {
					for i := range 200 {
						w.storm(env, fmt.Sprintf("%d/%d", g, i))
					}
				})
			}
			all.Wait()
			w.close()
			s := w.snapshot()
			assert.Zero(t, s.Queued)
			assert.Zero(t, env.inside)
			assert.Nil(t, w.queue.first)
			assert.Zero(t, w.bytes)
			assert.False(t, w.leading)
		})
	}
}

// storm runs one call under some context, in one way or the other, and compares its answer with what became of it.
func (w *world) storm(env *stormEnv, query string) {
	ctx, cancel := context.Background(), func() {}
	switch rand.IntN(4) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
	case 1:
		ctx, cancel = context.WithCancel(ctx)
		go cancel()
	}
	defer cancel()
	if rand.IntN(20) == 0 {
		query = "panic" + query
	}
	var res driver.Result
	var err error
	if rand.IntN(2) == 0 {
		res, err = w.promise(ctx, query).Await(context.Background())
	} else {
		func() {
			defer func() {
				if v := recover(); v != nil {
					err = &PanicError{Value: v}
				}
			}()
			res, err = w.run(ctx, query)
		}()
	}
	executed := 0
	if n, ok := env.executed.Load(query); ok {
		executed = *n.(*int)
	}
	var unknown *OutcomeUnknownError
	switch {
	case err == nil:
		id, _ := res.LastInsertId()
		assert.EqualValues(w.t, len(query), id, "the result of another call")
		assert.Equal(w.t, 1, executed, query)
	case errors.As(err, &unknown):
	default:
		assert.Zero(w.t, executed, "%s was executed, and answered with %v", query, err)
	}
}
