package groupcommit

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/histogram"
)

// Stats counts a database's calls since it was opened. All numbers only grow, except Queued, Oldest, MaxGroup, Lanes, Once, Each, the
// pools, and what CommandStats has of the present.
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
	Spread    int64

	// Lanes is how many groups may run side by side at present, as far as that pays and there are connections; with Partition, summed
	// over the keys. 1 is where each group is best alone. As many as there are callers: each call runs by itself, as on the plain
	// driver.
	Lanes int
	// Once is what a group of several calls pays once, at its best: begin, commit, round trips. Each is what one more call adds.
	// Both are moving averages, and 0 until a group has told. Where Each is large beside Once, groups save little.
	Once, Each time.Duration

	Late int64 // groups that took much longer than the others, so that another began beside them

	Waited time.Duration // in the queue, summed over the oldest call of each group
	Took   time.Duration // from claim to commit, summed over the groups

	Oldest time.Duration // for how long the call has been waiting that waits longest; 0 if none does

	// Sizes are the calls of each group. The others are times in nanoseconds: Waits are those of Waited, Commits the commits
	// of groups of several, and Latencies the time from a call's entering the queue until its group was committed.
	Sizes, Waits, Commits, Latencies Histogram

	Mode GroupMode // how groups are committed; Automatic until that is known
	Why  string    // the reason, if there is one: an option, functions of the database, a level of isolation, a hook

	// Shared is how many transactions, groups and calls by themselves committed first, and shared the sync that made them
	// durable. Synced did not; SyncWhy is why the last one did not. All are
	// zero on databases without such a choice.
	Shared, Synced int64
	SyncWhy        string

	// Apart are the calls that joined no group and ran as on the plain driver, queries among them, by why; nil if there are none.
	Apart map[Why]int64

	Ends // how calls have ended that did not simply succeed

	Commands map[string]CommandStats // by kind; nil if there is no handler

	Leased sql.DBStats // the physical connections; those that wait are counted, too: calls and groups
}

// MeanGroup is the mean number of calls a group; 0 before the first.
func (s Stats) MeanGroup() float64 {
	if s.Groups == 0 {
		return 0
	}
	return float64(s.Calls-s.Withdrawn-int64(s.Queued)) / float64(s.Groups)
}

// Closed are the reasons that close a group, and how many groups each has closed: Drained, Full and so on.
func (s *Stats) Closed() iter.Seq2[Reason, int64] {
	return func(yield func(Reason, int64) bool) {
		for i, n := range [...]int64{Drained: s.Drained, Full: s.Full, FullBytes: s.FullBytes, Halved: s.Halved, Spread: s.Spread} {
			if !yield(Reason(i), n) {
				return
			}
		}
	}
}

// A Histogram has counts of values by their size, in buckets of which the largest value is at most a quarter larger than the
// others. No bucket has values on both sides of a power of two. It is a snapshot.
type Histogram struct{ h histogram.Histogram }

// Count is the number of values, and Sum is that of all of them.
func (h *Histogram) Count() int64 { return h.h.Count() }
func (h *Histogram) Sum() int64   { return h.h.Sum() }

// Mean is the mean of all values; 0 if there are none.
func (h *Histogram) Mean() float64 { return float64(h.Sum()) / max(float64(h.Count()), 1) }

// Quantile returns a value that a share of the values, from 0 to 1, does not exceed; it is at most a quarter too large. It is 0 if there are no values, and
// somewhat more than 2^42 (an hour, in nanoseconds) for all that are larger.
func (h *Histogram) Quantile(share float64) int64 { return h.h.Quantile(share) }

// Buckets are those that have values, in rising order: the largest value that belongs into each, and how many are in it.
func (h *Histogram) Buckets() iter.Seq2[int64, int64] { return h.h.Buckets() }

// statsOf makes Stats of a queue's numbers.
func statsOf(g *group.Stats) Stats {
	return Stats{
		Calls: g.Members, Withdrawn: g.Withdrawn, Queued: g.Queued,
		Groups: g.Groups, Alone: g.Alone, Reruns: g.Reruns, MaxGroup: g.MaxGroup,
		Drained: g.Drained, Full: g.Full, FullBytes: g.FullBytes, Halved: g.Halved, Spread: g.Spread,
		Lanes: g.Lanes, Late: g.Late, Once: g.Once, Each: g.Each,
		Waited: g.Waited, Took: g.Took, Oldest: g.Oldest,
		Sizes: Histogram{g.Sizes}, Waits: Histogram{g.Waits}, Commits: Histogram{g.Commits}, Latencies: Histogram{g.Latencies},
	}
}

// StatsOf returns the counters of a database. Any goroutine may call it at any time; it costs a lock. If db is not ours, it
// returns an error. If a wrapper is around our driver, the first call may need a connection of db, and returns an error if none
// is free within a second.
func StatsOf(db *sql.DB) (Stats, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d, err := databaseOf(ctx, db)
	if err != nil {
		return Stats{}, err
	}
	var g group.Stats
	if d.Traits.Load() != nil {
		g = d.all.queue.Stats()
		lanes := g.Lanes
		trials := d.trials.queue.Stats()
		g.Add(&trials)
		if g.Lanes = lanes; d.limits.partition != nil { // no call is in the queue of all
			g.Lanes = 0
		}
	}
	d.partitions.addTo(&g)
	s := statsOf(&g)
	s.Mode, s.Why = d.mode()
	if d.singly && s.Lanes > 1 {
		s.Mode, s.Why = Autocommit, fmt.Sprintf("each call runs by itself, because it takes its group %v, and a group saves it %v", s.Each, s.Once)
	}
	s.Shared, s.Synced, s.SyncWhy = d.Syncs.Shared.Load(), d.Syncs.Alone.Load(), d.Syncs.Why()
	s.Apart = d.apart()
	s.Ends = endsOf(d.Ends.Counts())
	s.Commands = d.commandStats()
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
