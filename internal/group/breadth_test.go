package group

import (
	"context"
	"flag"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A model is a server with a made clock, and a queue in front of it. A member takes time of the server, and power: of that it
// has so many cores.
type model struct {
	cores chan struct{}
	conns chan struct{} // taken by the groups that are run; nil: as many as there are groups
	mu    sync.Mutex
	load  load
}

// A load is what callers ask of a model: what a group pays once, and what each member adds.
type load struct {
	trip, power, commit      time.Duration // once: the way there and back, power, and a wait without power
	memberPower, memberWaits time.Duration
}

// a is a load like that of a small INSERT, as measured.
func a(memberWaits, trip time.Duration) load {
	return load{trip: 30*time.Microsecond + trip, power: 150 * time.Microsecond, commit: 300 * time.Microsecond,
		memberPower: 25 * time.Microsecond, memberWaits: memberWaits}
}

func newModel(cores int, l load) *model { return &model{cores: make(chan struct{}, cores), load: l} }

func (m *model) use(d time.Duration) {
	m.cores <- struct{}{}
	time.Sleep(d)
	<-m.cores
}

func (m *model) now() load {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load
}

func (m *model) becomes(l load) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load = l
}

func (m *model) run(members int) (r Report) {
	if m.conns != nil {
		m.conns <- struct{}{}
		defer func() { <-m.conns }()
	}
	l := m.now()
	time.Sleep(l.trip)
	m.use(l.power)
	start := time.Now()
	for range members {
		m.use(l.memberPower)
		time.Sleep(l.memberWaits)
	}
	if members > 1 {
		r.Members, r.Commit = time.Since(start), l.commit
	}
	time.Sleep(l.commit)
	return r
}

// A modelCall is a member of the queue before a model.
type modelCall struct{ slot Slot[modelCall] }

func (m *model) Enter(context.Context, time.Time) error { return nil }
func (m *model) Leave()                                 {}
func (m *model) Patience() (time.Duration, error)       { return 0, nil }
func (m *model) Overtime() time.Duration                { return 100 * time.Millisecond }
func (m *model) Room() int {
	if m.conns == nil {
		return math.MaxInt
	}
	return cap(m.conns)
}
func (m *model) Run(members []*modelCall) Report { return m.run(len(members)) }
func (m *model) End(*modelCall) End              { return Answered }
func (m *model) RunPutOff(*modelCall)            {}
func (m *model) queue(lanes int, singly bool) *Queue[modelCall] {
	return m.limited(Limits[modelCall]{MaxLen: 1000, Lanes: lanes, Singly: singly})
}

// limited is a queue whose leaders do not yield thousands of times in vain: in a story each time lets run nearly all that can run.
func (m *model) limited(l Limits[modelCall]) *Queue[modelCall] {
	l.MaxBytes, l.MaxQueue = 1<<30, 10000
	q := New(m, l)
	q.spins = 1 << 5
	return q
}

// story is a bubble in which one goroutine runs at a time, so that little depends on the machine's other work.
func story(t *testing.T, run func(t *testing.T)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, run)
}

// rates has callers call again and again, each with its own member, and returns their calls a second in each span of time.
func rates(callers int, spans []time.Duration, call func(*modelCall)) []float64 {
	var mu sync.Mutex
	each := make([]float64, len(spans))
	start := time.Now()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			var c modelCall
			counts := make([]int, len(spans))
			for i, until := 0, spans[0]; ; counts[i]++ {
				call(&c)
				for since := time.Since(start); since >= until; until += spans[i] {
					if i++; i == len(spans) {
						mu.Lock()
						defer mu.Unlock()
						for i, n := range counts {
							each[i] += float64(n) / spans[i].Seconds()
						}
						return
					}
				}
			}
		})
	}
	all.Wait()
	return each
}

func (m *model) grouped(q *Queue[modelCall]) func(*modelCall) {
	return func(c *modelCall) {
		c.slot.Init(c, context.Background(), 1)
		q.Do(&c.slot)
	}
}

// plain calls as the plain driver does, with so many connections.
func (m *model) plain(pool int) func(*modelCall) {
	room := make(chan struct{}, pool)
	return func(*modelCall) {
		room <- struct{}{}
		m.run(1)
		<-room
	}
}

// rate is what a model reaches when it has had time to learn. The time that is measured is long beside a trial of other lanes, and
// beside what all callers together wait for: either may begin or end with it.
func rate(callers int, call func(*modelCall)) float64 {
	return rates(callers, []time.Duration{2 * time.Second, 2 * time.Second}, call)[1]
}

// rateOf is rate, with less time where members wait for nothing: slices are short then, and a second of the made clock has most events to
// compute.
func (m *model) rateOf(callers int, call func(*modelCall)) float64 {
	if l := m.now(); *long || l.trip >= time.Millisecond || l.memberWaits > 0 {
		return rate(callers, call)
	}
	return rates(callers, []time.Duration{700 * time.Millisecond, 300 * time.Millisecond}, call)[1]
}

var long = flag.Bool("long", false, "let the models of short members run three times as long")

// between is a model to which there are so many connections.
func (m *model) between(conns int) *model {
	m.conns = make(chan struct{}, conns)
	return m
}

// plainRate is what the plain driver reaches, which has nothing to learn. It is measured for so long that one wave of calls more or
// less is 2 % at the most. Where there are few cores, a wave takes the power that all of its calls take together.
func plainRate(m *model, callers int) float64 { return plainRateOf(m, callers, pool) }

func plainRateOf(m *model, callers, pool int) float64 {
	l := m.now()
	long := max(600*time.Millisecond/time.Duration(cap(m.cores)), 50*(l.trip+l.memberWaits))
	return rates(callers, []time.Duration{long / 3, long}, m.plain(pool))[1]
}

const pool = 64

// A run's result depends on the order in which goroutines happen to run: some cases have two, of which a queue finds one, and a trial
// may be under way at either end. So each case has a bound that no such accident reaches, and all together have one that is near to
// what they reach.
func TestAQueueIsNoSlowerThanThePlainDriver(t *testing.T) {
	const ms = time.Millisecond
	var logs []float64
	for _, of := range []struct {
		cores, callers int
		load           load
		least          float64
	}{
		{2, 1, a(0, 0), 0.99}, {2, 8, a(0, 0), 1.4}, {2, 64, a(0, 0), 3.5}, {2, 256, a(0, 0), 5},
		{2, 8, a(0, 5*ms), 0.9}, {2, 64, a(0, 5*ms), 0.6}, {2, 256, a(0, 5*ms), 1.5},
		{2, 8, a(ms, 0), 0.95}, {2, 64, a(ms, 0), 1}, {2, 256, a(ms, 5*ms), 1.2},
		{2, 8, a(20*ms, 0), 0.9}, {2, 64, a(20*ms, 0), 0.95}, {2, 64, a(5*ms, 5*ms), 0.75}, {2, 256, a(20*ms, 0), 0.95},
		{16, 8, a(0, 0), 0.8}, {16, 64, a(0, 0), 1.2}, {16, 256, a(0, 0), 2}, {16, 64, a(ms, ms), 0.95}, {16, 256, a(20*ms, ms), 0.95},
	} {
		name := fmt.Sprintf("%d cores, %d callers, a way of %v, members wait %v", of.cores, of.callers, of.load.trip, of.load.memberWaits)
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T) {
				m := newModel(of.cores, of.load)
				plain := plainRate(m, of.callers)
				q := m.queue(pool, false)
				got := m.rateOf(of.callers, m.grouped(q)) / plain
				logs = append(logs, math.Log(got))
				t.Logf("%.3f of the plain driver, %d lanes", got, q.Stats().Lanes)
				assert.GreaterOrEqual(t, got, of.least, "%d lanes", q.Stats().Lanes)
			})
		})
	}
	t.Logf("%.3f on the mean", mean(logs))
	assert.GreaterOrEqual(t, mean(logs), 1.35)
}

// Where members take long, or all of them together do, a queue has not to try one number of lanes after the other.
func TestAQueueIsNoSlowerThanThePlainDriverSoonWhereMembersTakeLong(t *testing.T) {
	const ms = time.Millisecond
	for _, of := range []struct {
		pool, callers int
		load          load
		least         float64
	}{
		{64, 256, a(ms, 5*ms), 1.5}, {64, 1024, a(ms, 5*ms), 3}, {64, 256, a(5*ms, 5*ms), 1.3}, {64, 1024, a(5*ms, 5*ms), 1.6},
		{16, 256, a(ms, 5*ms), 3}, {16, 1024, a(ms, 5*ms), 3}, {16, 256, a(5*ms, 5*ms), 1.6}, {16, 1024, a(5*ms, 5*ms), 1.6},
		{64, 64, a(5*ms, 5*ms), 0.95}, {64, 64, a(20*ms, 0), 0.95}, {16, 1024, a(20*ms, ms), 0.95},
	} {
		t.Run(fmt.Sprintf("%d connections, %d callers, a way of %v, members wait %v", of.pool, of.callers, of.load.trip, of.load.memberWaits), func(t *testing.T) {
			story(t, func(t *testing.T) {
				m := newModel(2, of.load)
				plain := plainRateOf(m, of.callers, of.pool)
				q := m.between(of.pool).queue(1000, false)
				got := rates(of.callers, []time.Duration{time.Second, time.Second}, m.grouped(q))[1] / plain
				t.Logf("%.2f of the plain driver in the second second, %d lanes", got, q.Stats().Lanes)
				assert.GreaterOrEqual(t, got, of.least)
			})
		})
	}
}

// A lane without a connection would make groups of the others smaller, and no call faster.
func TestThereAreNoMoreLanesThanThereIsRoomFor(t *testing.T) {
	story(t, func(t *testing.T) {
		m := newModel(2, a(20*time.Millisecond, 0)).between(8)
		q := m.queue(1000, false)
		becomes := func(after time.Duration, before, room int) {
			time.AfterFunc(after, func() {
				q.mu.Lock()
				defer q.mu.Unlock()
				assert.Equal(t, before, q.breadth.width)
				q.breadth.room = func() int { return room }
			})
		}
		becomes(2*time.Second, 8, 2)
		becomes(4*time.Second, 2, 8)
		rates(64, []time.Duration{6 * time.Second}, m.grouped(q))
		assert.Equal(t, 8, q.Stats().Lanes, "there is room again")
	})
}

// Trials of other lanes cost a hundredth, also where one takes as long as some statements of seconds.
func TestStatementsOfSecondsAreSeldomTriedInFewerLanes(t *testing.T) {
	for _, singly := range []bool{false, true} {
		story(t, func(t *testing.T) {
			m := newModel(64, load{trip: time.Millisecond, commit: time.Millisecond, memberWaits: 5 * time.Second})
			got := rates(64, []time.Duration{10 * time.Minute, time.Hour}, m.grouped(m.queue(pool, singly)))
			assert.GreaterOrEqual(t, got[1]/plainRate(m, 64), 0.985, "singly: %v", singly)
		})
	}
}

// When a trial of more lanes is over, as many groups still end as there were lanes. They would make one lane look as fast as those.
func TestGroupsOfTheLanesBeforeTellNothingOfThese(t *testing.T) {
	b := newBreadth(64, false, func() int { return 64 })
	since := time.Now()
	b.slice = slice{since: since}
	for range 4 {
		b.observe(over{began: since.Add(-time.Millisecond), ended: since.Add(time.Millisecond), members: 16}, false)
	}
	assert.Zero(t, b.slice.counted)
	b.observe(over{began: since.Add(time.Millisecond), ended: since.Add(2 * time.Millisecond), members: 16}, false)
	assert.Equal(t, 1, b.slice.counted)
}

// A program that pauses has no slow members.
func TestATimeWithoutMembersDoesNotCount(t *testing.T) {
	b := newBreadth(64, false, func() int { return 64 })
	var p presence
	now := time.Now()
	group := func() {
		p.change(now, 10)
		began := now
		now = now.Add(10 * time.Millisecond)
		p.change(now, 0)
		b.observe(over{began: began, ended: now, members: 10, presence: p}, false)
		p.change(now, -10)
	}
	for i := range 100 {
		if i%7 == 0 {
			now = now.Add(time.Hour)
		}
		group()
	}
	assert.InDelta(t, 10*time.Millisecond, b.usual, 1)
}

// mean is the geometric mean of what has these logarithms.
func mean(logs []float64) float64 {
	sum := 0.0
	for _, l := range logs {
		sum += l
	}
	return math.Exp(sum / float64(len(logs)))
}

func TestAQueueFollowsAProgramThatDoesSomethingElse(t *testing.T) {
	const callers = 64
	short, slow, far := a(0, 0), a(20*time.Millisecond, 0), a(0, 5*time.Millisecond)
	alone := make(map[load]float64)
	for _, l := range []load{short, slow, far} {
		story(t, func(t *testing.T) {
			m := newModel(2, l)
			alone[l] = m.rateOf(callers, m.grouped(m.queue(pool, false)))
		})
	}
	var logs []float64
	for name, loads := range map[string][]load{
		"short, slow, short": {short, slow, short}, "slow, short, slow": {slow, short, slow},
		"near, far, near": {short, far, short},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T) {
				const learn, measure = 2500 * time.Millisecond, 500 * time.Millisecond
				m := newModel(2, loads[0])
				q := m.queue(pool, false)
				for i, l := range loads[1:] {
					time.AfterFunc(time.Duration(i+1)*(learn+measure), func() { m.becomes(l) })
				}
				got := rates(callers, []time.Duration{learn, measure, learn, measure, learn, measure}, m.grouped(q))
				for i, l := range loads {
					part := got[2*i+1] / alone[l]
					logs = append(logs, math.Log(part))
					assert.GreaterOrEqual(t, part, 0.7, "phase %d, %v after it has begun", i, learn)
				}
			})
		})
	}
	assert.GreaterOrEqual(t, mean(logs), 0.9)
}

// Nothing is known of an unknown driver's transactions, but that members which each wait for an answer are better off beside
// each other.
func TestMembersThatAreDearRunByThemselvesWhereNothingIsKnown(t *testing.T) {
	const ms = time.Millisecond
	story(t, func(t *testing.T) {
		network := load{trip: 2 * ms, commit: ms, memberWaits: ms}
		m := newModel(2, network)
		q := m.queue(pool, true)
		got := rate(64, m.grouped(q))
		plain := plainRate(m, 64)
		assert.GreaterOrEqual(t, got/plain, 0.95)
		embedded := load{power: 5 * time.Microsecond, memberPower: 10 * time.Microsecond, commit: 500 * time.Microsecond}
		m = newModel(1, embedded)
		q = m.queue(pool, true)
		m.rateOf(64, m.grouped(q))
		assert.Equal(t, 1, q.Stats().Lanes)
		assert.Greater(t, q.Stats().MeanGroup(), 30.0)
	})
}

func TestAQueueWithOneLaneHasOneLeader(t *testing.T) {
	story(t, func(t *testing.T) {
		m := newModel(16, a(5*time.Millisecond, 0))
		q := m.queue(1, false)
		most := 0
		rate(64, func(c *modelCall) {
			m.grouped(q)(c)
			q.mu.Lock()
			most = max(most, q.leaders)
			q.mu.Unlock()
		})
		assert.Equal(t, 1, most)
	})
}

// Lone members that have waited for a lock, many at once, do not make a member of another kind wait for as long behind the next
// ones.
func TestMembersDoNotWaitBehindLoneOnesWhoseLikeHaveWaitedForALock(t *testing.T) {
	story(t, func(t *testing.T) {
		m := newModel(2, a(0, 0))
		q := m.limited(Limits[modelCall]{MaxLen: 1, Lanes: pool})
		for range 3 {
			m.rateOf(8, m.grouped(q))
			m.becomes(load{commit: time.Minute})
			var lone sync.WaitGroup
			for range pool {
				lone.Go(func() { m.grouped(q)(new(modelCall)) })
			}
			time.Sleep(10 * time.Second) // they are all run
			m.becomes(a(0, 0))
			start := time.Now()
			m.grouped(q)(new(modelCall))
			assert.Less(t, time.Since(start), 10*time.Millisecond)
			lone.Wait()
		}
	})
}

// A group that waits for a lock does not keep those waiting that came behind it.
func TestMembersDoNotWaitBehindAGroupThatIsLate(t *testing.T) {
	story(t, func(t *testing.T) {
		m := newModel(2, a(0, 0))
		q := m.queue(pool, false)
		m.rateOf(8, m.grouped(q))
		for range q.breadth.lanes() {
			m.becomes(load{commit: time.Hour})
			go m.grouped(q)(new(modelCall))
			synctest.Wait()
		}
		m.becomes(a(0, 0))
		start := time.Now()
		m.grouped(q)(new(modelCall))
		assert.Less(t, time.Since(start), 10*time.Millisecond)
		assert.Positive(t, q.Stats().Late)
		time.Sleep(2 * time.Hour)
	})
}

// A machine that stutters makes members look dear for the time of a group or two. That spreads no members that are short.
func TestAMachineThatStuttersSpreadsNoShortMembers(t *testing.T) {
	const stutter, every = 3 * time.Millisecond, 100 * time.Millisecond
	story(t, func(t *testing.T) {
		short, slow := a(0, 0), a(0, 0)
		slow.memberPower = time.Millisecond
		m := newModel(2, short)
		q := m.queue(pool, false)
		for i := range time.Duration(4) {
			time.AfterFunc((i+3)*every, func() { m.becomes(slow) })
			time.AfterFunc((i+3)*every+stutter, func() { m.becomes(short) })
		}
		got := rates(64, []time.Duration{3 * every, 8 * every, 3 * every}, m.grouped(q))
		assert.GreaterOrEqual(t, got[2]/got[0], 0.75, "%d lanes", q.Stats().Lanes)
	})
}
