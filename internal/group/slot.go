package group

import (
	"context"
	"math"
	"time"
)

// A Slot is a member's place in a queue. T embeds its Slot, or holds it. A Slot is in one queue at most.
type Slot[T any] struct {
	// Init sets these.
	of  *T
	ctx context.Context

	// Do and Go set these before the slot is queued.
	since    time.Time
	detached Detached    // nil for a member whose caller is in Do
	unwatch  func() bool // ends the watch over the context of a detached member

	// One token for the change that the waiter must see. In Do that is: it leads, it has been told, or it was withdrawn. In
	// Go it is: it has left the backlog.
	wake chan struct{} // cap 1; of a detached member nil until it is in a backlog

	// The queue's mutex guards these until the group is over, or the member withdrawn.
	state      state
	putOff     bool  // its caller is to run it
	bytes      int32 // of Init; it fills the word
	prev, next *Slot[T]
	err        error // of a withdrawn one
}

// Detached is a member that no caller waits for in [Queue.Do].
type Detached interface {
	// Settle is called once after a [Queue.Go] that returned nil, by any goroutine, unless the runner keeps the member: it
	// has its outcome, or it was withdrawn, which [Slot.Err] says.
	Settle()
}

// state is how far a member is: see [Queue].
type state uint8

const (
	fresh     state = iota
	backlog         // waiting for room in the queue
	queued          // in the queue; can still be withdrawn
	leading         // in the queue, and its goroutine leads the next group
	claimed         // in a group; it will be told
	withdrawn       // taken back before any group claimed it; certainly not executed
)

// Init prepares the slot of a member for [Queue.Do] or [Queue.Go]. The context ends the waiting until a group claims the
// member. The bytes count against [Limits.MaxBytes].
//
// A slot that was used before may be prepared again when Do has returned, or when Go has and the member was settled or kept.
// But a slot that was in Go with a context that can end may not: the watch over that context may still be looking at it.
func (s *Slot[T]) Init(of *T, ctx context.Context, bytes int) {
	*s = Slot[T]{of: of, ctx: ctx, bytes: int32(min(bytes, math.MaxInt32)), wake: s.wake}
}

// Clear forgets the member, so that a pool can keep the slot: what was made for the waiting is used again.
func (s *Slot[T]) Clear() { *s = Slot[T]{wake: s.wake} }

// Context is the one of Init.
func (s *Slot[T]) Context() context.Context { return s.ctx }

// Since is when the member entered the queue.
func (s *Slot[T]) Since() time.Time { return s.since }

// Bytes is the number of Init.
func (s *Slot[T]) Bytes() int { return int(s.bytes) }

// Err is why the member was withdrawn; nil if it was not. It is for a member that is settled.
func (s *Slot[T]) Err() error { return s.err }

// Claimed reports that a group has the member, or had it. It is for members of a group, and for those that are settled.
func (s *Slot[T]) Claimed() bool { return s.state == claimed }

// list is a list of slots, oldest first. A slot is in one list at most.
type list[T any] struct {
	first, last *Slot[T]
	n           int
}

func (l *list[T]) push(s *Slot[T]) {
	s.prev, s.next = l.last, nil
	if l.last == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
	l.n++
}

func (l *list[T]) remove(s *Slot[T]) {
	if s.prev == nil {
		l.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	l.n--
}
