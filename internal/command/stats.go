package command

import (
	"context"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/tally"
)

// counts are what a kind counts while its commands come and go.
type counts struct {
	ends              tally.Tally
	settled           [states]atomic.Int64 // by their state
	left              atomic.Int64
	running, retrying atomic.Int64 // at present
}

// states is how many states there are, Pending among them.
const states = int(durable.RejectedTimedout) + 1

// Stats counts the commands of one kind in this process.
type Stats struct {
	Batches group.Stats // the queue's numbers, of which the groups are batches
	tally.Counts
	Durable bool

	// At present, beside those that are queued.
	Running  int // in a batch that is being handled
	Retrying int // they wait for another attempt
	Awaited  int // recorded; callers wait for them here, and another process has them, or a later round will take them
	Broken   int // recorded; their values do not decode

	// That have ended here, by their state.
	Resolved, Rejected, Canceled, TimedOut int64
	Left                                   int64 // answered with [Errors].Pending
}

// Stats returns the numbers. Any goroutine may call it at any time; it costs some locks.
func (r *Runner) Stats() Stats {
	c := &r.kind.counts
	s := Stats{
		Batches: r.queue.Stats(), Counts: c.ends.Counts(),
		Running: int(c.running.Load()), Retrying: int(c.retrying.Load()),
		Resolved: c.settled[durable.Resolved].Load(), Rejected: c.settled[durable.Rejected].Load(),
		Canceled: c.settled[durable.RejectedCanceled].Load(), TimedOut: c.settled[durable.RejectedTimedout].Load(),
		Left: c.left.Load(),
	}
	if k := r.keeper; k != nil {
		s.Durable, s.Awaited, s.Broken = true, k.awaited.len(), k.broken.len()
	}
	return s
}

// count counts a task that is settled.
func (t *Task) count() {
	k := t.kind
	if t.left {
		k.counts.left.Add(1)
	} else {
		k.counts.settled[t.state].Add(1)
	}
	if t.err != nil {
		k.counts.ends.Failed(t.slot.Context(), k.traits, t.err)
	}
	if t.replayed {
		k.counts.ends.Replayed()
	}
}

// A Backlog is what is recorded of a kind, and still to be run.
type Backlog = record.Backlog

// Backlogs reads from the table how many commands of each kind are to be run, by whichever process.
func Backlogs(ctx context.Context, h Host) (map[string]Backlog, error) {
	return record.Backlogs(ctx, h.DB())
}
