package group

import (
	"context"
	"math"
	"runtime"
	"time"
)

// A pace says how long a leader waits for more members, and how many of them its group takes.
//
// Callers in a closed loop fall into two cohorts: while the one commits, the other queues, and every group is half of what
// it could be. So a new leader yields for a moment to the callers that were just told: those that come back at once are in
// its group. That is anticipation.
//
// The moment is worth while if it is shorter than what it saves, which is what a group pays once: its commit, and the way to a
// server and back. So it is bounded by that, measured. It is bounded by number, too: as many as were told, times the part of them
// that has been coming back, learned. It ends as soon as that many are there.
//
// Where there are so many callers that their return takes longer than the moment, two cohorts are the better way: the one
// comes back while the other is being run. Then a group is half of the callers, and leaves the others to the next one.
//
// Rejected: a timer. The shortest sleep is longer than most callers need to come back.
type pace struct {
	once     time.Duration // what a group pays, moving average
	comeback time.Duration // between one caller's return and the next one's, moving average
	returns  float64       // the part of the callers that come back in time, moving average
	told     int           // callers, by the last group
	present  int           // members queued when the last group's callers were about to be told
	at       time.Time     // when that was
	groups   uint          // counted, so that what has been learned is tried again
}

const (
	yieldMost   = 2 * time.Millisecond   // at most, however much a group pays once
	yieldIdle   = 200 * time.Microsecond // nor for longer after the last arrival
	yieldSpins  = 1 << 14                // nor more often: in a bubble of testing/synctest the clock stands still
	yieldEnough = 8                      // returns to learn a rate from
	yieldAgain  = 32                     // every so many groups, all callers that were told are waited for
)

func (p *pace) paid(once time.Duration) {
	if p.once == 0 {
		p.once, p.returns = once, 1
	}
	p.once += (min(once, 2*p.once) - p.once) / 8 // so that one checkpoint counts little
}

func (p *pace) concluded(now time.Time, told, present int) {
	p.told, p.present, p.at = told, present, now
	p.groups++
}

// window is for how long callers may be waited for.
func (p *pace) window() time.Duration { return min(p.once, yieldMost) }

// again says that it is time to try again whether what was learned still holds.
func (p *pace) again() bool { return p.groups%yieldAgain == 0 }

// expected is how many callers will come back.
func (p *pace) expected() int {
	if p.again() {
		return p.told
	}
	return int(float64(p.told)*p.returns + 0.5)
}

// cohorts reports that so many callers are better off in two cohorts: by far, because what is learned of their return is
// rough, and a cohort too many costs a commit.
func (p *pace) cohorts(callers int) bool {
	return !p.again() && time.Duration(callers)*p.comeback > 2*p.window()
}

// share is how many members a group should take.
func (p *pace) share() int {
	if all := p.present + p.expected(); p.cohorts(all) {
		return (all + 1) / 2
	}
	return math.MaxInt
}

// anticipate yields until the callers that were just told have come back, within the bounds.
func (q *Queue[T]) anticipate() {
	q.mu.Lock()
	p, abreast := q.pace, q.breadth.lanes() > 1
	share := p.share()
	if abreast {
		share, _ = q.share(q.present.n - q.inGroups)
	}
	q.mu.Unlock()
	expected, window := p.expected(), p.window()
	if expected == 0 || window == 0 {
		return
	}
	target := min(p.present+expected, share, q.limits.MaxLen, q.limits.MaxQueue)
	var first, last arrival
	last.at = p.at
	for spins := 0; ; spins++ {
		now := arrival{int(q.waiting.Load()), time.Now()}
		if now.n != last.n {
			last = now
			if first.n == 0 {
				first = now
			}
		}
		waited := now.at.Sub(p.at)
		if now.n >= target || waited >= window || now.at.Sub(last.at) >= yieldIdle || spins == q.spins {
			all := now.n >= target
			if spins == 0 && waited >= window && p.present == 0 && now.n <= 1 { // the leader alone, who came when the time was over
				last.n, all = 0, false
			}
			if !abreast { // or else they may be others
				q.mu.Lock()
				q.pace.learn(first, last, all)
				q.mu.Unlock()
			}
			return
		}
		runtime.Gosched()
	}
}

// arrival is how many members were queued at a time.
type arrival struct {
	n  int
	at time.Time
}

// learn notes how many have come back. all says that they were as many as expected; then there may be more.
func (p *pace) learn(first, last arrival, all bool) {
	if all {
		p.returns += (1 - p.returns) / 8
	} else {
		came := float64(max(0, last.n-p.present)) / float64(p.told)
		p.returns += (min(1, came) - p.returns) / 4
	}
	if n := last.n - first.n; n >= yieldEnough {
		each := last.at.Sub(first.at) / time.Duration(n)
		if p.comeback == 0 {
			p.comeback = each
		}
		p.comeback += (min(each, 2*p.comeback) - p.comeback) / 8 // so that one stall counts little
	}
}

// lingerFor waits for a full group until own has waited MaxDelay, its context ends or the queue closes.
func (q *Queue[T]) lingerFor(own *Slot[T]) {
	q.mu.Lock()
	if q.full() || q.closed {
		q.mu.Unlock()
		return
	}
	select {
	case <-q.filled: // of an earlier leader's
	default:
	}
	q.linger = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.linger = false
		q.mu.Unlock()
	}()
	ctx, cancel := context.WithDeadline(own.ctx, own.since.Add(q.limits.MaxDelay))
	defer cancel()
	select {
	case <-q.filled:
	case <-ctx.Done():
	}
}
