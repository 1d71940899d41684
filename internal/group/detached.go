package group

import "context"

// How members without a waiting caller come in, and how they are told.

// Go has a group run a member, without waiting for it: another goroutine leads when it is the member's turn. Go waits
// only for room in the queue, and no longer than the member's context allows. After an error (the context's,
// [Limits.Closed]) the member never was queued. Otherwise d will be settled, perhaps before Go returns.
func (q *Queue[T]) Go(s *Slot[T], d Detached) error { return q.submit(s, d, false) }

// GoAccepted is Go for a member that [Queue.Accept] has counted, and that is not released before GoAccepted returns: a
// closed queue takes it, too.
func (q *Queue[T]) GoAccepted(s *Slot[T], d Detached) error { return q.submit(s, d, true) }

func (q *Queue[T]) submit(s *Slot[T], d Detached, accepted bool) error {
	ctx := s.ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	s.detached = d
	if ctx.Done() != nil {
		s.unwatch = context.AfterFunc(ctx, func() { q.takeBack(s) })
	}
	unwatch := s.unwatch
	lead, waits, err := q.admit(s, accepted)
	switch {
	case err != nil:
		if unwatch != nil {
			unwatch()
		}
		return err
	case lead:
		go q.leadDetached(s)
		return nil
	}
	if ctx.Err() != nil { // the watch may have looked before there was anything to withdraw
		q.takeBack(s)
	}
	if waits {
		<-s.wake
	}
	return nil
}

// takeBack settles a detached member whose context ended before any group claimed it.
func (q *Queue[T]) takeBack(s *Slot[T]) {
	if ok, waiter := q.withdraw(s); ok {
		q.settle(s)
		if waiter != nil {
			waiter <- struct{}{} // Go returns
		}
	}
}

// leadDetached leads a group for a detached member.
func (q *Queue[T]) leadDetached(s *Slot[T]) {
	if q.lead(s) {
		q.settle(s)
	}
}

// runPutOff runs a detached member that was put off.
func (q *Queue[T]) runPutOff(s *Slot[T]) {
	defer q.settle(s) // also after runtime.Goexit
	q.runner.RunPutOff(s.of)
}

// settle tells a detached member that it is over. From then on its slot belongs to the member again.
func (q *Queue[T]) settle(s *Slot[T]) {
	unwatch := s.unwatch
	s.detached.Settle()
	if unwatch != nil {
		unwatch()
	}
	q.active.Done()
}
