package group

import (
	"time"

	"github.com/groupcommit/groupcommit/internal/histogram"
)

// Reason says why a group was closed when it was.
type Reason uint8

const (
	Drained   Reason = iota // the group took all that was queued
	Full                    // it reached MaxLen
	FullBytes               // the next member would have taken it over MaxBytes
	Halved                  // it left half of the callers to the next group, to come back while that one runs
	Spread                  // it left members to the groups that run beside it
)

func (r Reason) String() string {
	switch r {
	case Drained:
		return "drained"
	case Full:
		return "full"
	case FullBytes:
		return "bytes"
	case Halved:
		return "halved"
	case Spread:
		return "spread"
	}
	return "unknown"
}

// Info describes one group to [Limits.OnGroup].
type Info[T any] struct {
	Members []*T // in the order in which they were queued; not to be kept or changed
	Reason  Reason
	Reruns  int           // times it, or a part of it, had to be rolled back and run again
	Waited  time.Duration // of its oldest member, in the queue
	Took    time.Duration // from claim to commit

	slots []*Slot[T]
}

// Since is when one of the members entered the queue.
func (i *Info[T]) Since(member int) time.Time { return i.slots[member].Since() }

// Stats counts a queue's members and groups. All numbers only grow, except Queued, MaxGroup, Lanes, Once and Each.
type Stats struct {
	Members   int64 // that were accepted by Do and Go, answered or not
	Withdrawn int64 // of these, the ones that ended before any group claimed them
	Queued    int   // of these, the ones that no group has claimed yet

	Groups   int64 // groups that were run, groups of one among them
	Alone    int64 // of these, the groups of one
	Reruns   int64 // times a group, or a part of one, was rolled back and run again
	MaxGroup int   // the largest group's members

	Drained   int64 // groups by the reason for which they were closed
	Full      int64
	FullBytes int64
	Halved    int64
	Spread    int64

	Lanes int // groups that may run side by side at present
	// Once is what a group of several pays once, at its best, and Each what one more member adds; 0 until a group has told.
	Once, Each time.Duration

	Late int64 // groups that took much longer than was to be expected, so that another began beside them

	Waited time.Duration // in the queue, summed over the oldest member of each group
	Took   time.Duration // from claim to commit, summed over the groups

	Oldest time.Duration // for how long the member has been waiting that waits longest

	// Sizes are the groups' members. The others are times in nanoseconds: Waits those of Waited, Commits the commits of groups of
	// several, Latencies from a member's coming until its group was over.
	Sizes, Waits, Commits, Latencies histogram.Histogram
}

// MeanGroup is the mean number of members of a group; 0 before the first.
func (s Stats) MeanGroup() float64 {
	if s.Groups == 0 {
		return 0
	}
	return float64(s.Members-s.Withdrawn-int64(s.Queued)) / float64(s.Groups)
}

// Add adds another queue's numbers.
func (s *Stats) Add(o *Stats) {
	s.Members += o.Members
	s.Withdrawn += o.Withdrawn
	s.Queued += o.Queued
	s.Groups += o.Groups
	s.Alone += o.Alone
	s.Reruns += o.Reruns
	s.MaxGroup = max(s.MaxGroup, o.MaxGroup)
	s.Drained += o.Drained
	s.Full += o.Full
	s.FullBytes += o.FullBytes
	s.Halved += o.Halved
	s.Spread += o.Spread
	s.Lanes += o.Lanes
	s.Once, s.Each = max(s.Once, o.Once), max(s.Each, o.Each)
	s.Late += o.Late
	s.Waited += o.Waited
	s.Took += o.Took
	s.Oldest = max(s.Oldest, o.Oldest)
	s.Sizes.Merge(&o.Sizes)
	s.Waits.Merge(&o.Waits)
	s.Commits.Merge(&o.Commits)
	s.Latencies.Merge(&o.Latencies)
}

func (s *Stats) observe(n int, reason Reason, reruns int, waited, took, commit time.Duration) {
	s.Sizes.Add(int64(n))
	s.Waits.Add(int64(waited))
	if n > 1 && commit > 0 {
		s.Commits.Add(int64(commit))
	}
	s.Groups++
	if n == 1 {
		s.Alone++
	}
	s.Reruns += int64(reruns)
	s.MaxGroup = max(s.MaxGroup, n)
	switch reason {
	case Drained:
		s.Drained++
	case Full:
		s.Full++
	case FullBytes:
		s.FullBytes++
	case Halved:
		s.Halved++
	case Spread:
		s.Spread++
	}
	s.Waited += waited
	s.Took += took
}

// Stats returns the queue's numbers. Any goroutine may call it at any time; it costs a lock.
func (q *Queue[T]) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Queued = q.size() + q.backlog.n
	s.Lanes = q.breadth.lanes()
	s.Once, s.Each = time.Duration(q.late.best), time.Duration(q.late.each)
	for _, first := range []*Slot[T]{q.queue.first, q.backlog.first} {
		if first != nil {
			s.Oldest = max(s.Oldest, time.Since(first.since))
		}
	}
	return s
}
