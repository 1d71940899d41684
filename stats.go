package groupcommit

import (
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
)

// Stats counts a database's calls since it was opened. All numbers only grow, except Queued, MaxGroup and the pools.
type Stats struct {
	Calls     int64 // Execs that entered a queue for a group, answered or not
	Withdrawn int64 // of these, the ones that left before a group claimed them (a context, a busy writer), not executed
	Queued    int   // of these, the ones that no group has claimed yet

	Groups   int64 // groups that were run, groups of one among them
	Alone    int64 // of these, the groups of one, which run as the plain driver runs them
	Reruns   int64 // how often a group, or a part of one, was rolled back and run again
	MaxGroup int   // the calls of the largest group

	Drained   int64 // groups by the reason that closed them: see Reason
	Full      int64
	FullBytes int64
	Halved    int64

	Waited time.Duration // in the queue, summed over the oldest call of each group
	Took   time.Duration // from claim to commit, summed over the groups

	Mode GroupMode // how groups are committed; Automatic until that is known
	Why  string    // the reason, if there is one: an option, functions of the database, a level of isolation, a hook

	Leased sql.DBStats // the physical connections; those that wait are counted, too: calls and groups
}

// MeanGroup is the mean number of calls a group; 0 before the first.
func (s Stats) MeanGroup() float64 {
	if s.Groups == 0 {
		return 0
	}
	return float64(s.Calls-s.Withdrawn-int64(s.Queued)) / float64(s.Groups)
}

// statsOf makes Stats of a queue's numbers.
func statsOf(g group.Stats) Stats {
	return Stats{
		Calls: g.Members, Withdrawn: g.Withdrawn, Queued: g.Queued,
		Groups: g.Groups, Alone: g.Alone, Reruns: g.Reruns, MaxGroup: g.MaxGroup,
		Drained: g.Drained, Full: g.Full, FullBytes: g.FullBytes, Halved: g.Halved,
		Waited: g.Waited, Took: g.Took,
	}
}

// StatsOf returns the counters of a database. Any goroutine may call it at any time; it costs a lock. If db
// is not ours, it returns an error.
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
