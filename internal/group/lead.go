package group

import (
	"math"
	"time"
)

// A round is one leader's: the group, and its report. It is used again when all members have been told.
type round[T any] struct {
	slots   []*Slot[T]
	members []*T // of the slots
	reason  Reason
	report  Report
	took    time.Duration

	// The queue's mutex guards these while the group is run.
	at    int       // its place among those that are run; -1 if it is in none
	start time.Time // when it was claimed
	late  bool      // its lead was handed on before it was over
}

func (q *Queue[T]) round() *round[T] {
	if r, ok := q.rounds.Get().(*round[T]); ok {
		return r
	}
	return &round[T]{at: -1}
}

// free takes a round back. Its members are no longer the queue's.
func (q *Queue[T]) free(r *round[T]) {
	clear(r.slots)
	clear(r.members)
	*r = round[T]{slots: r.slots[:0], members: r.members[:0], at: -1}
	q.rounds.Put(r)
}

// lead runs one group, with own at its head, and hands the lead on. own has been told or is withdrawn when lead returns. If
// it was told, it belongs to its caller, and lead must not look at it any more.
func (q *Queue[T]) lead(own *Slot[T]) (withdrawn bool) {
	r := q.round()
	defer q.conclude(own, r)
	if err := q.enter(own); err != nil {
		q.mu.Lock()
		q.dequeue(own)
		q.withdrawn(own, err)
		q.mu.Unlock()
		return true
	}
	defer q.runner.Leave()
	q.wake(q.claim(own, r))
	if q.guard(r.start) {
		defer q.unguard()
	}
	r.report = q.runner.Run(r.members)
	q.account(r)
	return false
}

// enter waits for the members that should be in the group, and takes the turn.
func (q *Queue[T]) enter(own *Slot[T]) error {
	if err := own.ctx.Err(); err != nil {
		return err
	}
	if q.limits.MaxDelay > 0 {
		q.lingerFor(own)
	} else {
		q.anticipate()
	}
	if err := own.ctx.Err(); err != nil {
		return err
	}
	return q.runner.Enter(own.ctx, own.since)
}

// claim takes the next group off the queue. The leader's own member is its first. next is to lead beside it, if it is not nil.
func (q *Queue[T]) claim(own *Slot[T], r *round[T]) (next *Slot[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.start = time.Now()
	// The backlog moves up as the queue empties; a group is still what had been queued when it was claimed.
	n, bytes := q.queue.n+1, 0
	if share, why := q.share(n); share < n {
		n, r.reason = share, why
	}
	if most := q.late.most(); q.breadth.most > 1 && most < n {
		n, r.reason = most, Spread
	}
	if n >= q.limits.MaxLen {
		n, r.reason = q.limits.MaxLen, Full
	}
	for s := own; n > 0; n-- {
		if bytes += s.Bytes(); bytes > q.limits.MaxBytes && len(r.slots) > 0 {
			r.reason = FullBytes
			break
		}
		q.dequeue(s)
		s.state = claimed
		r.slots = append(r.slots, s)
		r.members = append(r.members, s.of)
		s = q.queue.first
	}
	r.at = len(q.running)
	q.running = append(q.running, r)
	q.inGroups += len(r.slots)
	return q.next()
}

// share is how many of the members that wait a group should take, and why no more.
func (q *Queue[T]) share(waiting int) (int, Reason) {
	switch {
	case q.breadth.lanes() == 1:
		return q.pace.share(), Halved
	case q.limits.Singly:
		return 1, Spread
	}
	return q.breadth.share(waiting, q.inGroups), Spread
}

// account counts a group, and tells OnGroup. It runs after the commit and before the answers.
func (q *Queue[T]) account(r *round[T]) {
	now := time.Now()
	r.took = now.Sub(r.start)
	oldest := r.start.Sub(r.slots[0].since)
	q.mu.Lock()
	q.stats.observe(len(r.slots), r.reason, r.report.Reruns, oldest, r.took, r.report.Commit)
	for _, s := range r.slots {
		q.stats.Latencies.Add(int64(now.Sub(s.since)))
	}
	if n := len(r.slots); n > 1 && r.report.Commit > 0 {
		q.pace.paid(r.report.Commit)
	}
	q.late.ran(now, len(r.slots), r.took, r.report.Members)
	q.present.change(now, 0)
	each, dear := q.late.dear()
	// Where members are to run by themselves in several lanes, as with the driver of a database of which nothing is known, more lanes
	// are tried only if members are dear: a database inside the process, whose members are cheap, may refuse to work beside itself.
	mayWiden := dear || !q.limits.Singly
	q.breadth.observe(over{began: r.start, ended: now, members: len(r.slots), presence: q.present, each: each, dear: dear}, mayWiden)
	q.remove(r) // what OnGroup takes is no lateness
	q.mu.Unlock()
	if q.limits.OnGroup != nil {
		q.limits.OnGroup(Info[T]{Members: r.members, Reason: r.reason, Reruns: r.report.Reruns, Waited: oldest, Took: r.took, slots: r.slots})
	}
}

// conclude hands on the lead and tells the members, the one beside the other: the next group may run while this one's
// callers are woken. It is deferred: it happens whatever became of the group.
func (q *Queue[T]) conclude(own *Slot[T], r *round[T]) {
	q.mu.Lock()
	if own.state == leading { // Enter has panicked
		q.dequeue(own)
		q.withdrawn(own, nil)
	}
	now := time.Now()
	if !r.late {
		q.pace.concluded(now, len(r.slots), q.size())
		q.leaders--
	}
	q.remove(r)
	q.present.change(now, -len(r.slots))
	next := q.next()
	q.mu.Unlock()
	q.wake(next)
	for _, s := range r.slots {
		q.tell(s, own)
	}
	if r.report.Then != nil {
		go r.report.Then()
	}
	q.free(r)
}

// remove takes a round out of those that are run.
func (q *Queue[T]) remove(r *round[T]) {
	if r.at < 0 {
		return
	}
	last := len(q.running) - 1
	q.running[r.at] = q.running[last]
	q.running[r.at].at = r.at
	q.running[last] = nil
	q.running = q.running[:last]
	r.at = -1
	q.inGroups -= len(r.slots)
}

// next appoints the member that has waited longest, if one waits and there is a lane for it. The caller holds the mutex, and
// wakes it without.
func (q *Queue[T]) next() *Slot[T] {
	s := q.queue.first
	if s == nil {
		return nil
	}
	if q.leaders >= q.breadth.lanes() {
		q.beware()
		return nil
	}
	q.queue.remove(s)
	q.appoint(s)
	return s
}

// wake tells a member that was appointed to lead.
func (q *Queue[T]) wake(next *Slot[T]) {
	switch {
	case next == nil:
	case next.detached != nil:
		go q.leadDetached(next)
	default:
		next.wake <- struct{}{}
	}
}

// beware has the dog look when the next group will be late. It is called when members wait. The caller holds the mutex.
func (q *Queue[T]) beware() {
	if q.alert || len(q.running) == 0 {
		return
	}
	first := q.runner.Overtime()
	if first == 0 {
		return
	}
	now := time.Now()
	soonest := time.Duration(math.MaxInt64)
	for _, r := range q.running {
		soonest = min(soonest, q.rest(r, first, now))
	}
	if soonest == math.MaxInt64 {
		return
	}
	q.alert = true
	if q.dog == nil {
		q.dog = time.AfterFunc(max(0, soonest), q.look)
	} else {
		q.dog.Reset(max(0, soonest))
	}
}

// rest is how long a group may still take before it is late. With one lane members are run in their order, and only one that
// runs alone may be late, after the first time: a goroutine whose next member is behind it may hold the lock that it waits for.
func (q *Queue[T]) rest(r *round[T], first time.Duration, now time.Time) time.Duration {
	limit := first
	switch {
	case q.breadth.most > 1:
		limit = q.late.of(len(r.slots), first)
	case len(r.slots) > 1:
		return math.MaxInt64
	}
	return limit - now.Sub(r.start)
}

// look hands on the lead of each group that is late, if members wait.
func (q *Queue[T]) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.alert = false
	first := q.runner.Overtime()
	now := time.Now()
	for i := 0; i < len(q.running) && q.queue.n > 0; i++ {
		r := q.running[i]
		if q.rest(r, first, now) > 0 {
			continue
		}
		q.stats.Late++
		r.late = true
		q.remove(r)
		q.leaders--
		i--
		if next := q.next(); next != nil {
			q.wake(next)
		}
	}
	if q.queue.n > 0 {
		q.beware()
	}
}

// tell ends a member's time in the queue. From then on it is its caller's, or the runner's.
func (q *Queue[T]) tell(s, own *Slot[T]) {
	end := q.runner.End(s.of)
	switch {
	case s.detached == nil:
		s.putOff = end == PutOff
		if s != own {
			s.wake <- struct{}{}
		}
	case end == Answered:
		q.settle(s)
	case end == PutOff:
		go q.runPutOff(s)
	case s.unwatch != nil: // kept
		s.unwatch()
	}
}
