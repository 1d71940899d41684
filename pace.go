package groupcommit

import (
	"context"
	"math"
	"runtime"
	"time"
)

// Callers in a closed loop fall into two cohorts: while the one commits, the other queues, and every group is half of
// what it could be. So a new leader yields for a moment to the callers that were just answered: those that come back
// at once are in the group.
//
// The moment is worth while if it is shorter than what it saves, which is one commit: so it is bounded by what a commit
// takes, measured. It is bounded by number, too: as many as were answered, times the part of them that has been
// coming back, learned. It ends as soon as that many are there.
//
// Where there are so many callers that their return takes longer than the moment, two cohorts are the better way: the
// one comes back while the other is being executed. Then a group is half of the callers, and leaves the others to the
// next one.
//
// Rejected: a timer. The shortest sleep is longer than most callers need to come back.
type pace struct {
	commit   time.Duration // of a group, moving average
	comeback time.Duration // between one caller's return and the next one's, moving average
	returns  float64       // the part of the answered callers that come back in time, moving average
	answered int           // by the last group
	present  int           // queued when the last group's callers were about to be answered
	at       time.Time     // when that was
	groups   uint          // counted, so that what has been learned is tried again
}

const (
	yieldMost   = 2 * time.Millisecond   // at most, however long a commit takes
	yieldIdle   = 200 * time.Microsecond // nor for longer after the last arrival
	yieldSpins  = 1 << 14                // nor more often: in a bubble of testing/synctest the clock stands still
	yieldEnough = 8                      // returns to learn a rate from
	yieldAgain  = 32                     // every so many groups, everybody who was answered is waited for
)

func (p *pace) committed(took time.Duration) {
	if p.commit == 0 {
		p.commit, p.returns = took, 1
	}
	p.commit += (min(took, 2*p.commit) - p.commit) / 8 // one checkpoint says nothing of the others
}

func (p *pace) concluded(answered, present int) {
	p.answered, p.present, p.at = answered, present, time.Now()
	p.groups++
}

// window is for how long callers may be waited for.
func (p *pace) window() time.Duration { return min(p.commit, yieldMost) }

// again says that what has been learned is to be tried again.
func (p *pace) again() bool { return p.groups%yieldAgain == 0 }

// expected is how many callers will come back.
func (p *pace) expected() int {
	if p.again() {
		return p.answered
	}
	return int(float64(p.answered)*p.returns + 0.5)
}

// cohorts reports that so many callers are better off in two cohorts: by far, because what is learned of their return is
// rough, and a cohort too many costs a commit.
func (p *pace) cohorts(callers int) bool {
	return !p.again() && time.Duration(callers)*p.comeback > 2*p.window()
}

// share is how many calls a group should take.
func (p *pace) share() int {
	if all := p.present + p.expected(); p.cohorts(all) {
		return (all + 1) / 2
	}
	return math.MaxInt
}

// anticipate yields until the callers that were just answered have come back, within the bounds.
func (b *batcher) anticipate() {
	p := &b.pace
	expected, window := p.expected(), p.window()
	if expected == 0 || window == 0 {
		return
	}
	target := min(p.present+expected, p.share(), b.limits.maxLen, b.limits.maxQueue)
	var first, last arrival
	last.at = p.at
	for spins := 0; ; spins++ {
		now := arrival{int(b.waiting.Load()), time.Now()}
		if now.n != last.n {
			last = now
			if first.n == 0 {
				first = now
			}
		}
		if now.n >= target || now.at.Sub(p.at) >= window || now.at.Sub(last.at) >= yieldIdle || spins == yieldSpins {
			p.learn(first, last, now.n >= target)
			return
		}
		runtime.Gosched()
	}
}

// arrival is how many calls were queued at a time.
type arrival struct {
	n  int
	at time.Time
}

// learn notes who has come back. all says that these were as many as expected; then there may be more.
func (p *pace) learn(first, last arrival, all bool) {
	if all {
		p.returns += (1 - p.returns) / 8
	} else {
		came := float64(max(0, last.n-p.present)) / float64(p.answered)
		p.returns += (min(1, came) - p.returns) / 4
	}
	if n := last.n - first.n; n >= yieldEnough {
		each := last.at.Sub(first.at) / time.Duration(n)
		if p.comeback == 0 {
			p.comeback = each
		}
		p.comeback += (min(each, 2*p.comeback) - p.comeback) / 8 // one stall says nothing of the others
	}
}

// lingerFor waits for a full group until own has waited [MaxDelay], its context ends or the database closes.
func (b *batcher) lingerFor(own *call) {
	b.mu.Lock()
	if b.full() || b.closed {
		b.mu.Unlock()
		return
	}
	select {
	case <-b.filled: // of an earlier leader's
	default:
	}
	b.linger = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.linger = false
		b.mu.Unlock()
	}()
	ctx, cancel := context.WithDeadline(own.Context(), own.since.Add(b.limits.maxDelay))
	defer cancel()
	select {
	case <-b.filled:
	case <-ctx.Done():
	}
}
