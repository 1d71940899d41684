package group

import (
	"sync/atomic"
	"time"
)

// A round is one leader's: the group, and its report. It is used again when all members have been told.
type round[T any] struct {
	slots   []*Slot[T]
	members []*T // of the slots
	reason  Reason
	report  Report
	lost    *atomic.Bool // the lead was handed on before the group was over; nil if that cannot happen
}

func (q *Queue[T]) round() *round[T] {
	if r, ok := q.rounds.Get().(*round[T]); ok {
		return r
	}
	return new(round[T])
}

// free takes a round back. Its members are no longer the queue's.
func (q *Queue[T]) free(r *round[T]) {
	clear(r.slots)
	clear(r.members)
	*r = round[T]{slots: r.slots[:0], members: r.members[:0]}
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
	start := time.Now()
	q.claim(r)
	if q.guard() {
		defer q.unguard()
	}
	q.run(r)
	q.account(r, start)
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

// claim takes the next group off the queue. The leader's own member is its first: it was the oldest when it was told to
// lead, and the oldest stays where it is.
func (q *Queue[T]) claim(r *round[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	// The backlog moves up as the queue empties; a group is still what had been queued when it was claimed.
	n, share, bytes := q.queue.n, q.pace.share(), 0
	if share < n {
		n, r.reason = share, Halved
	}
	if n >= q.limits.MaxLen {
		n, r.reason = q.limits.MaxLen, Full
	}
	for ; n > 0; n-- {
		s := q.queue.first
		if bytes += s.Bytes(); bytes > q.limits.MaxBytes && len(r.slots) > 0 {
			r.reason = FullBytes
			break
		}
		q.dequeue(s)
		s.state = claimed
		r.slots = append(r.slots, s)
		r.members = append(r.members, s.of)
	}
}

// run has the runner run the group. A group of one keeps the lead for a limited time: it may be waiting for a lock that is
// held by a goroutine whose next member is behind it in the queue.
func (q *Queue[T]) run(r *round[T]) {
	if len(r.members) > 1 {
		r.report = q.runner.Run(r.members)
		if took := r.report.Commit; took > 0 {
			q.pace.committed(took)
		}
		return
	}
	if limit := q.runner.Overtime(); limit > 0 {
		lost := new(atomic.Bool)
		r.lost = lost
		clock := time.AfterFunc(limit, func() {
			if lost.CompareAndSwap(false, true) {
				q.handOn()
			}
		})
		defer clock.Stop()
	}
	r.report = q.runner.Run(r.members)
}

// account counts a group, and tells OnGroup. It runs after the commit and before the answers.
func (q *Queue[T]) account(r *round[T], start time.Time) {
	took := time.Since(start)
	oldest := start.Sub(r.slots[0].since)
	q.mu.Lock()
	q.stats.observe(len(r.slots), r.reason, r.report.Reruns, oldest, took)
	q.mu.Unlock()
	if q.limits.OnGroup != nil {
		q.limits.OnGroup(Info[T]{Members: r.members, Reason: r.reason, Reruns: r.report.Reruns, Waited: oldest, Took: took})
	}
}

// conclude hands on the lead and tells the members, the one beside the other: the next group may run while this one's
// callers are woken. It is deferred: it happens whatever became of the group.
func (q *Queue[T]) conclude(own *Slot[T], r *round[T]) {
	if r.lost == nil || r.lost.CompareAndSwap(false, true) {
		q.pace.concluded(len(r.slots), int(q.waiting.Load()))
		q.handOn()
	}
	for _, s := range r.slots {
		q.tell(s, own)
	}
	if r.report.Then != nil {
		go r.report.Then()
	}
	q.free(r)
}

// handOn makes the member that has waited longest lead.
func (q *Queue[T]) handOn() {
	q.mu.Lock()
	next := q.queue.first
	if next == nil {
		q.leading = false
		q.mu.Unlock()
		return
	}
	next.state = leading
	detached := next.detached != nil
	q.mu.Unlock()
	if detached {
		go q.leadDetached(next)
	} else {
		next.wake <- struct{}{}
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
