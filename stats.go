package groupcommit

import (
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// Reason is why a group was closed when it was.
type Reason uint8

const (
	Drained   Reason = iota // everything that was queued went into it
	Full                    // it reached MaxLen
	FullBytes               // the next call would have taken it over MaxBytes
	Halved                  // it left half of the callers to the next group, to come back while that one runs
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
	}
	return "unknown"
}

// Stats is what a database's calls have come to since it was opened. All numbers only grow, but for Queued, MaxGroup
// and the pools.
type Stats struct {
	Calls     int64 // Execs that took the group road, answered or not
	Withdrawn int64 // of these, the ones that ended before any group claimed them (a context, a busy writer), not executed
	Queued    int   // of these, the ones that no group has claimed yet

	Groups   int64 // groups that were run, groups of one among them
	Alone    int64 // of these, the groups of one: the plain driver's calls
	Reruns   int64 // times a group, or a part of one, was rolled back and run again
	MaxGroup int   // the largest group's calls

	Drained   int64 // groups by the reason for which they were closed
	Full      int64
	FullBytes int64
	Halved    int64

	Waited time.Duration // in the queue, summed over the oldest call of each group
	Took   time.Duration // from claim to commit, summed over the groups

	Mode GroupMode // how groups are committed; Automatic until that is known
	Why  string    // the reason, where there is one to tell: an option, functions of the database, a level of isolation, a hook

	Leased sql.DBStats // the physical connections; one that is kept for the next writer counts as in use
}

// MeanGroup is the mean number of calls a group; 0 before the first.
func (s Stats) MeanGroup() float64 {
	if s.Groups == 0 {
		return 0
	}
	return float64(s.Calls-s.Withdrawn-int64(s.Queued)) / float64(s.Groups)
}

func (s *Stats) observe(calls []*call, reason Reason, reruns int, waited, took time.Duration) {
	n := len(calls)
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
	}
	s.Waited += waited
	s.Took += took
}

func (s *Stats) add(o Stats) {
	s.Calls += o.Calls
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
	s.Waited += o.Waited
	s.Took += o.Took
}

func (b *batcher) snapshot() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Queued = b.queue.n + b.backlog.n
	return s
}

// StatsOf returns the counters of a database that was opened with one of our names or with [NewConnector]. Any
// goroutine may call it at any time; it costs a lock. For a db that is not ours it returns an error.
func StatsOf(db *sql.DB) (Stats, error) {
	d, err := databaseOf(db)
	if err != nil {
		return Stats{}, err
	}
	var s Stats
	for _, b := range d.lanes {
		s.add(b.snapshot())
	}
	d.partitions.addTo(&s)
	s.Mode, s.Why = d.mode()
	s.Leased = d.Pool.Stats()
	return s, nil
}

func (d *database) mode() (GroupMode, string) {
	t := d.Traits.Load()
	if t == nil {
		return d.limits.mode, ""
	}
	if d.apiece(t) {
		return Autocommit, "no groups, because " + t.Hook + " reads the context of each caller; option Partition"
	}
	d.mu.Lock()
	e := d.engine
	d.mu.Unlock()
	if m, ok := e.(engine.Moder); ok {
		return m.Mode()
	}
	return Transaction, ""
}

// GroupInfo is what [OnGroup] is told of one group.
type GroupInfo struct {
	Calls  []*Call // in the order in which they were executed; not to be kept or changed
	Reason Reason
	Reruns int           // times it, or a part of it, had to be rolled back and run again
	Waited time.Duration // of its oldest call, in the queue
	Took   time.Duration // from claim to commit
}
