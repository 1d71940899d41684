package group

import "time"

// guard bounds the waiting of the members behind a group that is being run, until unguard. A group takes as long as it
// takes, and one of its members may wait for a member that waits for the group: a function that SQL calls and that writes
// to the same database. False is that there is no bound.
//
// The watch is not set anew for each group: most take a thousandth of the time. It looks when its time is over, and then sees for
// how long the group that is there has been running.
func (q *Queue[T]) guard(now time.Time) bool {
	patience, _ := q.runner.Patience()
	if patience == 0 {
		return false
	}
	q.mu.Lock()
	q.guarded = now
	if q.due.IsZero() || q.due.Sub(now) > patience {
		q.watchFor(patience, now)
	}
	q.mu.Unlock()
	return true
}

func (q *Queue[T]) unguard() {
	q.mu.Lock()
	q.guarded = time.Time{}
	q.mu.Unlock()
}

// watchFor has the watch look after d. The caller holds the mutex.
func (q *Queue[T]) watchFor(d time.Duration, now time.Time) {
	q.due = now.Add(d)
	if q.watch == nil {
		q.watch = time.AfterFunc(d, q.expire)
	} else {
		q.watch.Reset(d)
	}
}

// expire withdraws the members that have waited for longer than patience, and looks again when the next one will have.
func (q *Queue[T]) expire() {
	patience, err := q.runner.Patience()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due = time.Time{}
	if q.guarded.IsZero() || patience == 0 {
		return
	}
	now := time.Now()
	if left := patience - now.Sub(q.guarded); left > 0 {
		q.watchFor(left, now)
		return
	}
	for s := q.queue.first; s != nil; s = q.queue.first {
		if left := patience - now.Sub(s.since); left > 0 {
			q.watchFor(left, now)
			return
		}
		q.dequeue(s)
		q.withdrawn(s, err)
		if s.detached != nil {
			go q.settle(s)
		} else {
			s.wake <- struct{}{}
		}
	}
	q.watchFor(patience, now)
}
