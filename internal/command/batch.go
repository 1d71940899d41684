package command

import (
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A rest is the commands of a batch that have no outcome when the batch is over, by what is to become of them.
type rest struct {
	failed int           // how many attempts of the batch had failed when it was run
	reruns int           // how often it, or a part of it, was rolled back and run again without a pause
	aside  []*Task       // to be tried each by itself
	again  []*Task       // to be tried again as one batch
	pause  time.Duration // before that
	last   result        // of the attempt that has failed
	others []*Task       // that another process has, or that are settled: for the keeper to ask about
}

// runGuarded is run. If a driver panics, it is not known what became of the transaction. The goroutine is the library's, so
// that the panic would end the program.
func (r *Runner) runGuarded(batch []*Task, failed int, t *turn.Turn) (commit time.Duration, left rest) {
	n := int64(len(batch))
	r.kind.counts.running.Add(n)
	defer r.kind.counts.running.Add(-n)
	engine.Catch(func() { commit, left = r.run(batch, failed, t) }, func(err *engine.PanicError) {
		for _, t := range batch {
			t.kept = false
			t.answer(nil, &engine.OutcomeUnknownError{Cause: err})
		}
	})
	return commit, left
}

// run handles a batch of which so many attempts have failed. Afterwards each command has an outcome, or is in the rest. t is a
// turn that the caller has; it is over then. commit is what COMMIT took.
func (r *Runner) run(batch []*Task, failed int, t *turn.Turn) (commit time.Duration, left rest) {
	left.failed = failed
	attempts := 0
	left.reruns = group.Redo(batch, false, func(batch []*Task) group.Blame {
		for {
			if attempts++; attempts > 1 {
				reset(batch)
			}
			a := r.attempt(batch, t)
			if t != nil {
				r.kind.host.Leave(t) // if the attempt came to nothing
				t = nil
			}
			switch {
			case a.err == nil:
				left.aside = append(left.aside, a.aside...)
				left.others, commit = a.others, a.commit
			case (a.culprit != nil || a.split) && len(batch) == 1 && !batch[0].refused:
				batch[0].refuse(a.err)
				continue
			case a.culprit != nil:
				return group.Blame(slices.Index(batch, a.culprit))
			case a.split:
				return group.AnyOf
			case a.final:
				r.giveUp(batch, a)
			default:
				r.again(doubtful(batch, a), a, &left)
			}
			return group.Over
		}
	}, func(t *Task) { left.aside = append(left.aside, t) })
	return commit, left
}

// reset makes a batch what it was before its last attempt.
func reset(batch []*Task) {
	for _, t := range batch {
		t.reset()
	}
}

// doubtful is for a batch whose COMMIT may have had no answer. It answers the commands without an id, and returns the others,
// whose next attempt finds out what became of this one.
func doubtful(batch []*Task, last result) []*Task {
	if !last.unknown {
		return batch
	}
	known := make([]*Task, 0, len(batch))
	for _, t := range batch {
		if t.id == "" {
			t.answer(nil, &engine.OutcomeUnknownError{Cause: last.err})
		} else {
			t.doubt = last.err
			known = append(known, t)
		}
	}
	return known
}

// again has a batch tried again as the policy says, or gives it up. Meanwhile its commands take room in the queue: where very
// many fail, the callers of new ones wait.
func (r *Runner) again(batch []*Task, last result, left *rest) {
	if len(batch) == 0 {
		return
	}
	wait, more := r.next(left.failed + 1)
	if !more || r.closing.Err() != nil {
		r.giveUp(batch, last)
		return
	}
	r.queue.Reserve(len(batch))
	left.again, left.last, left.pause = slices.Clone(batch), last, wait // the slice is the queue's
}

// next is the policy, whose panic is its end.
func (r *Runner) next(failed int) (wait time.Duration, again bool) {
	err := engine.Guard(func() error {
		wait, again = r.retry(failed)
		return nil
	})
	return wait, again && err == nil
}

// keep marks what a batch has left, and returns what is to be done with it when the batch is over; nil is nothing.
func (r *Runner) keep(left rest) (then func()) {
	n := 0
	for _, tasks := range [][]*Task{left.aside, left.again, left.others} {
		n += len(tasks)
		for _, t := range tasks {
			t.kept = true
		}
	}
	if n == 0 {
		return nil
	}
	r.kind.counts.retrying.Add(int64(len(left.aside) + len(left.again)))
	return func() { r.goOn(left) }
}

// goOn does what is to be done with the rest of a batch. The queue counts each of the tasks until it is released.
func (r *Runner) goOn(left rest) {
	for _, t := range left.others {
		r.keeper.await(t)
		r.queue.Release()
	}
	if len(left.again) > 0 {
		go r.afterPause(left)
	}
	for i := range left.aside {
		r.finish(left.aside[i:i+1], left.failed)
	}
}

// afterPause tries the failed commands of a batch again. If the runner is closed before, they have had their last attempt.
func (r *Runner) afterPause(left rest) {
	goesOn := repeat.Pause(r.closing, left.pause)
	r.queue.Reserve(-len(left.again))
	if !goesOn {
		r.kind.counts.retrying.Add(-int64(len(left.again)))
		r.giveUp(left.again, left.last)
		r.settle(left.again)
		return
	}
	r.kind.counts.ends.Retried()
	r.finish(left.again, left.failed+1)
}

// finish runs a batch away from the queue, and settles it.
func (r *Runner) finish(batch []*Task, failed int) {
	r.kind.counts.retrying.Add(-int64(len(batch)))
	reset(batch)
	_, left := r.runGuarded(batch, failed, nil)
	then := r.keep(left)
	r.settle(batch)
	if then != nil {
		go then()
	}
}

// settle settles those of a batch that are not kept any more.
func (r *Runner) settle(batch []*Task) {
	for _, t := range batch {
		if !t.kept {
			t.Settle()
			r.queue.Release()
		}
	}
}

// giveUp answers a batch with its last error. Durable commands are rejected in the table, too, unless no command has caused the
// error: then they stay pending, and will be tried again, by this process or another.
func (r *Runner) giveUp(batch []*Task, last result) {
	for _, t := range batch {
		t.kept = false
	}
	switch {
	case r.keeper == nil:
		for _, t := range batch {
			t.answer(nil, last.err)
			t.conclude()
		}
	case !last.final && (!last.began || last.unknown || r.closing.Err() != nil || last.severed || r.kind.blameless(last.err)):
		r.keeper.leavePending(batch, last.err)
	default:
		r.keeper.reject(batch, last.err)
	}
}
