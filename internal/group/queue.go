// Package group turns calls from many goroutines into groups, each run as one. It does not know databases: a [Runner] runs
// the groups.
package group

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Queue collects members from many goroutines and has its runner run them in groups.
//
// The queue has no goroutine, and no timer that closes groups. The first caller that finds no leader becomes the leader: it takes the turn,
// claims what is queued, has it run, hands the lead to the caller that has waited longest, and tells the members. While one
// group commits, the next one fills. So a lone caller never waits, and a group of one is run by its own caller.
//
//	member:  fresh → [backlog →] queued → [leading →] claimed → told: answered, put off or kept
//	                    └──────────┴→ withdrawn: before any group claimed it, so it was certainly not executed
//
//	leader:  linger or anticipate → Enter → claim → Run → OnGroup → Leave → hand on → tell the members → Then
//
// Where groups may run side by side a queue has several leaders at a time: see breadth. And a group that takes much longer
// than was to be expected does not keep others waiting: see forecast.
//
// Invariants, under mu:
//   - if a member is queued, as many goroutines lead as there are lanes, or have been told to;
//   - the backlog is empty unless the queue is full;
//   - a claimed member is told by the leader that claimed it, whatever happens to that leader.
//
// Rejected: a goroutine that owns the runner and receives members over a channel. It costs two more switches of goroutine a
// group, keeps one goroutine for each queue alive for ever, runs a lone member away from its caller, and its panic belongs
// to no caller. Rejected too: a timer that closes groups. Callers in a closed loop wait for it in vain, and a lone caller
// always does.
type Queue[T any] struct {
	runner Runner[T]
	limits Limits[T]

	mu       sync.Mutex
	queue    list[T]
	backlog  list[T] // waiting for room in the queue
	bytes    int     // of the queued members
	reserved int     // room in the queue that is not for members: see Reserve
	leaders  int     // that lead, or have been told to; not those whose group is late
	told     list[T] // of these, the ones that have not claimed their group yet
	inGroups int     // members of groups that are being run, but of late ones
	present  presence
	running  []*round[T]
	late     forecast
	dog      *time.Timer // it looks for late groups; nil before there was need
	alert    bool        // it will look
	breadth  breadth
	closed   bool
	guarded  time.Time      // since when a group is being run and the waiting of the others is bounded; zero: none is
	watch    *time.Timer    // over the waiting of the others meanwhile; nil before there was need
	due      time.Time      // when it will look; zero: it will not
	active   sync.WaitGroup // members, and others, that were accepted and are not over
	stats    Stats

	waiting atomic.Int32  // members in the queue, for the leader to watch without the lock
	filled  chan struct{} // cap 1: the queue holds a full group; only for a leader that lingers
	linger  bool          // a leader watches filled

	pace   pace      // mu guards it, too
	spins  int       // how often a leader yields at the most; yieldSpins, and less in models
	rounds sync.Pool // of *round[T]: the slices that groups were in
}

// Limits are a queue's. MaxLen, MaxBytes and MaxQueue are at least 1.
type Limits[T any] struct {
	MaxLen   int           // of the members of a group
	MaxBytes int           // of a group; a larger member goes alone
	MaxQueue int           // of the members that wait for a group; more wait for room, in the order of their arrival
	MaxDelay time.Duration // for how long a group waits until it is full; 0: it is what queued up while the last one was run
	Lanes    int           // the most groups that may run at the same time; 0 is 1. With MaxDelay it is 1
	Singly   bool          // where several lanes pay, each member is to run by itself
	Closed   error         // of Do and Go after Close

	// OnGroup is called for each group between Run and the telling of the members, in the leader's goroutine; it may be nil.
	OnGroup func(Info[T])
}

// New returns a queue for a runner.
func New[T any](r Runner[T], l Limits[T]) *Queue[T] {
	if l.MaxDelay > 0 {
		l.Lanes = 1 // groups that are to be full do not share their members
	}
	return &Queue[T]{runner: r, limits: l, filled: make(chan struct{}, 1), spins: yieldSpins, breadth: newBreadth(l.Lanes, l.Singly, r.Room)}
}

// Do has a group run a member, and returns when the member has its answer. Meanwhile its caller leads when it is its turn,
// and runs the member by itself if it was put off. An error means that the member was certainly not executed: it is
// [Limits.Closed], the context's, that of [Runner.Enter] or that of [Runner.Patience].
func (q *Queue[T]) Do(s *Slot[T]) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	lead, _, err := q.admit(s, false)
	if err != nil {
		return err
	}
	defer q.active.Done()
	if !lead && !q.await(s) {
		return s.err
	}
	if lead || s.state == leading {
		q.lead(s)
	}
	if s.putOff {
		q.runner.RunPutOff(s.of)
	}
	if s.state == withdrawn {
		return s.err
	}
	return nil
}

// await waits until s has been told, or leads. False if s was withdrawn because its context ended.
func (q *Queue[T]) await(s *Slot[T]) bool {
	done := s.ctx.Done()
	if done == nil {
		<-s.wake
		return true
	}
	select {
	case <-s.wake:
	case <-done:
		if ok, _ := q.withdraw(s); ok {
			return false
		}
		<-s.wake
	}
	return true
}

// admit queues s, or puts it in the backlog if the queue is full: then it waits. lead says that the caller must lead.
func (q *Queue[T]) admit(s *Slot[T], accepted bool) (lead, waits bool, err error) {
	s.since = time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed && !accepted {
		return false, false, q.limits.Closed
	}
	q.active.Add(1)
	q.stats.Members++
	q.present.change(s.since, +1)
	if q.crowded() {
		s.state = backlog
		if s.wake == nil {
			s.wake = make(chan struct{}, 1)
		}
		q.backlog.push(s)
		return false, true, nil
	}
	if q.leaders < q.breadth.lanes() { // then none is queued
		q.bytes += s.Bytes()
		q.appoint(s)
		return true, false, nil
	}
	q.enqueue(s)
	q.beware()
	return false, false, nil
}

// appoint makes a member lead that is in no list. The caller holds the mutex.
func (q *Queue[T]) appoint(s *Slot[T]) {
	s.state = leading
	q.leaders++
	q.told.push(s)
	q.waiting.Store(int32(q.size()))
}

// size is how many members wait to be claimed.
func (q *Queue[T]) size() int { return q.queue.n + q.told.n }

// crowded reports that the queue has no room. The caller holds the mutex.
func (q *Queue[T]) crowded() bool { return q.size()+q.reserved >= q.limits.MaxQueue }

// HasRoom reports that Go would not wait for room.
func (q *Queue[T]) HasRoom() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.crowded()
}

func (q *Queue[T]) enqueue(s *Slot[T]) {
	s.state = queued
	q.queue.push(s)
	q.waiting.Store(int32(q.size()))
	q.bytes += s.Bytes()
	if q.linger && q.full() {
		select {
		case q.filled <- struct{}{}:
		default:
		}
	}
}

func (q *Queue[T]) full() bool {
	return q.size() >= min(q.limits.MaxLen, q.limits.MaxQueue) || q.bytes >= q.limits.MaxBytes
}

// dequeue takes s out of the queue, or out of the leaders that have not claimed their group.
func (q *Queue[T]) dequeue(s *Slot[T]) {
	if s.state == leading {
		q.told.remove(s)
	} else {
		q.queue.remove(s)
	}
	q.bytes -= s.Bytes()
	q.moveUp()
	q.waiting.Store(int32(q.size()))
}

// moveUp gives the queue's free room to the oldest members of the backlog.
func (q *Queue[T]) moveUp() {
	for q.backlog.first != nil && !q.crowded() {
		next := q.backlog.first
		q.backlog.remove(next)
		q.enqueue(next)
		if next.detached != nil {
			next.wake <- struct{}{} // Go waits for room, not for the outcome
		}
	}
}

// withdraw takes s back because its context ended, if no group has claimed it and its goroutine has not been told to lead.
// waiter says that s waited in the backlog.
func (q *Queue[T]) withdraw(s *Slot[T]) (ok bool, waiter chan<- struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch s.state {
	case backlog:
		waiter = s.wake
		q.backlog.remove(s)
	case queued:
		q.dequeue(s)
	default:
		return false, nil
	}
	q.withdrawn(s, s.ctx.Err())
	return true, waiter
}

func (q *Queue[T]) withdrawn(s *Slot[T], err error) {
	s.state = withdrawn
	s.err = err
	q.stats.Withdrawn++
	q.present.change(time.Now(), -1)
}

// Reserve takes away room in the queue for n members, or gives it back if n is negative. A runner reserves it for members
// that it keeps and will run again: if very many fail, new ones wait.
func (q *Queue[T]) Reserve(n int) {
	q.mu.Lock()
	q.reserved += n
	q.moveUp()
	next := q.next()
	q.mu.Unlock()
	q.wake(next)
}

// Load is how many members a new one would find before it, a group that is being run counted as one.
func (q *Queue[T]) Load() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.size() + q.backlog.n
	if q.leaders > 0 {
		n++
	}
	return n
}

// Accept counts a call that Close must wait for though no group will run it, until [Queue.Release]. False if the queue is
// closed.
func (q *Queue[T]) Accept() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.active.Add(1)
	}
	return !q.closed
}

// Hold counts one more on behalf of one that was accepted, and not released yet: so a closed queue takes it, too.
func (q *Queue[T]) Hold() { q.active.Add(1) }

// Release ends one Accept, one Hold, or the counting of a member that was kept.
func (q *Queue[T]) Release() { q.active.Done() }

// Close refuses new members and returns when all that were accepted are over.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	select {
	case q.filled <- struct{}{}: // no leader lingers in a closed queue
	default:
	}
	q.mu.Unlock()
	q.active.Wait()
}
