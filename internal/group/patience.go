package group

import "time"

// guard bounds the waiting of the members behind a group that is being run, until unguard. A group takes as long as it
// takes, and one of its members may wait for a member that waits for the group: a function that SQL calls and that writes
// to the same database. False is that there is no bound.
func (q *Queue[T]) guard() bool {
	patience, _ := q.runner.Patience()
	if patience == 0 {
		return false
	}
	q.mu.Lock()
	q.guarded = true
	if q.watch == nil {
		q.watch = time.AfterFunc(patience, q.expire)
	} else {
		q.watch.Reset(patience)
	}
	q.mu.Unlock()
	return true
}

func (q *Queue[T]) unguard() {
	q.mu.Lock()
	q.guarded = false
	q.watch.Stop()
	q.mu.Unlock()
}

// expire withdraws the members that have waited for longer than patience, and looks again when the next one will have.
func (q *Queue[T]) expire() {
	patience, err := q.runner.Patience()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.guarded || patience == 0 {
		return
	}
	for s := q.queue.first; s != nil; s = q.queue.first {
		if left := patience - time.Since(s.since); left > 0 {
			q.watch.Reset(left)
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
	q.watch.Reset(patience)
}
