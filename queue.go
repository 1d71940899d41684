package groupcommit

import (
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// The batcher's queue, and the backlog behind it: how calls come in, how they are taken back, how long they wait.

// admit queues c, or puts it in the backlog if the queue is full. lead says that the caller must lead.
func (b *batcher) admit(c *call) (lead bool, err error) {
	c.since = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed && !c.accepted {
		return false, ErrClosed
	}
	b.active.Add(1)
	b.stats.Calls++
	if b.crowded() {
		c.state = callBacklog
		if c.wake == nil { // of a promise, which wants to be woken only from here
			c.wake = make(chan struct{}, 1)
		}
		b.backlog.push(c)
		return false, nil
	}
	b.enqueue(c)
	if b.leading {
		return false, nil
	}
	b.leading = true
	c.state = callLeading
	return true, nil
}

// crowded reports that the queue has no room. The mutex is the caller's.
func (b *batcher) crowded() bool { return b.queue.n >= b.limits.maxQueue }

func (b *batcher) enqueue(c *call) {
	c.state = callQueued
	b.queue.push(c)
	b.waiting.Store(int32(b.queue.n))
	b.bytes += c.Bytes()
	if b.linger && b.full() {
		select {
		case b.filled <- struct{}{}:
		default:
		}
	}
}

func (b *batcher) full() bool {
	return b.queue.n >= min(b.limits.maxLen, b.limits.maxQueue) || b.bytes >= b.limits.maxBytes
}

// dequeue takes c out of the queue.
func (b *batcher) dequeue(c *call) {
	b.queue.remove(c)
	b.bytes -= c.Bytes()
	b.moveUp()
	b.waiting.Store(int32(b.queue.n))
}

// moveUp gives the room that there is in the queue to who is longest in the backlog.
func (b *batcher) moveUp() {
	for b.backlog.first != nil && !b.crowded() {
		next := b.backlog.first
		b.backlog.remove(next)
		b.enqueue(next)
		if next.promise != nil {
			next.wake <- struct{}{} // Go waits for room, not for the outcome
		}
	}
}

// withdraw takes c back if no group has claimed it and its goroutine has not been told to lead.
func (b *batcher) withdraw(c *call) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch c.state {
	case callBacklog:
		b.backlog.remove(c)
	case callQueued:
		b.dequeue(c)
	default:
		return false
	}
	b.withdrawn(c, c.Context().Err())
	return true
}

func (b *batcher) withdrawn(c *call, err error) {
	c.state = callWithdrawn
	c.SetOutcome(engine.Answer{Err: err})
	b.stats.Withdrawn++
}

// guard bounds the waiting of the calls behind a group that is being run, and returns what ends that. A group takes
// as long as its statements take, and one of them may wait for a call that waits for the group: a function that SQL
// calls and that writes to the same database.
func (b *batcher) guard() (stop func()) {
	patience, err := b.env.patience()
	if patience == 0 {
		return func() {}
	}
	b.mu.Lock()
	b.running = true
	if b.watch == nil {
		b.watch = time.AfterFunc(patience, func() { b.expire(patience, err) })
	} else {
		b.watch.Reset(patience)
	}
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		b.running = false
		b.watch.Stop()
		b.mu.Unlock()
	}
}

// expire withdraws the calls that have waited for longer than patience, and looks again when the next one will have.
func (b *batcher) expire(patience time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.running {
		return
	}
	for c := b.queue.first; c != nil; c = b.queue.first {
		if left := patience - time.Since(c.since); left > 0 {
			b.watch.Reset(left)
			return
		}
		b.dequeue(c)
		b.withdrawn(c, err)
		if c.promise != nil {
			go c.promise.settle()
		} else {
			c.wake <- struct{}{}
		}
	}
	b.watch.Reset(patience)
}

// load is how many calls a new one would find before it, the leader's group counted as one.
func (b *batcher) load() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.queue.n + b.backlog.n
	if b.leading {
		n++
	}
	return n
}

// close refuses new calls and returns when every accepted one is answered.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	select {
	case b.filled <- struct{}{}: // nobody lingers on a closed database
	default:
	}
	b.mu.Unlock()
	b.active.Wait()
}

// callList is a list of calls, oldest first. A call is in one list at most.
type callList struct {
	first, last *call
	n           int
}

func (l *callList) push(c *call) {
	c.prev, c.next = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.n++
}

func (l *callList) remove(c *call) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}
