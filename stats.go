package groupcommit

import (
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
)

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

// statsOf are a queue's numbers.
func statsOf(g group.Stats) Stats {
	return Stats{
		Calls: g.Members, Withdrawn: g.Withdrawn, Queued: g.Queued,
		Groups: g.Groups, Alone: g.Alone, Reruns: g.Reruns, MaxGroup: g.MaxGroup,
		Drained: g.Drained, Full: g.Full, FullBytes: g.FullBytes, Halved: g.Halved,
		Waited: g.Waited, Took: g.Took,
	}
}

// StatsOf returns the counters of a database that was opened with one of our names or with [NewConnector]. Any
// goroutine may call it at any time; it costs a lock. For a db that is not ours it returns an error.
func StatsOf(db *sql.DB) (Stats, error) {
	d, err := databaseOf(db)
	if err != nil {
		return Stats{}, err
	}
	var g group.Stats
	for _, b := range d.lanes {
		g.Add(b.queue.Stats())
	}
	d.partitions.addTo(&g)
	s := statsOf(g)
	s.Mode, s.Why = d.mode()
	s.Leased = d.Pool.Stats()
	return s, nil
}

func (d *database) mode() (GroupMode, string) {
	t := d.Traits.Load()
	if t == nil {
		return d.limits.mode, ""
	}
	if d.Apiece {
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
