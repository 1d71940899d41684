package groupcommit

import (
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
)

// OnGroup calls f for every group, after its commit and before its callers are answered. Of one database, one goroutine at a
// time calls f, and it is one of the callers: every caller of the group waits for f. A panic in f is that caller's, after its commit.
// (With [Go] there may be no caller, and the panic ends the program.) f must not write to the database or close it: the
// groups that it would wait for may be waiting for f. Given more than once, each function is called, the first one first.
//
// A call that its group has put off (its IsPutOff is true), because it failed in a way that ends the transaction, say, or waits for a lock,
// has no outcome yet. Its caller executes it by itself, and f is then called for it once more, as for a group of one whose Reason is [PutOff].
// A query with RETURNING that has the group to itself commits later, when its rows are closed, and one that its group has put off is
// in no group.
func OnGroup(f func(GroupInfo)) Option {
	return databaseOption(func(l *limits) error {
		if f == nil {
			return badOption("OnGroup", "nil", "a function")
		}
		before := l.onGroup
		l.onGroup = func(g GroupInfo) {
			if before != nil {
				before(g)
			}
			f(g)
		}
		return nil
	})
}

// GroupInfo describes one group to [OnGroup]. A call's Err is its outcome, and its Context is its caller's.
type GroupInfo struct {
	Calls   []*Call     // in the order in which they were executed; not to be kept or changed
	Since   []time.Time // when each of them entered the queue; not to be kept or changed
	Dialect engine.Dialect
	Reason  Reason
	Reruns  int           // how often the group, or a part of it, had to be rolled back and run again
	Waited  time.Duration // of its oldest call, in the queue
	Took    time.Duration // from claim to commit
}

// tell tells OnGroup of a group. A query that the group has put off is left out: its caller is yet to execute it as any other query.
func (g *groups) tell(i group.Info[exec]) {
	info := GroupInfo{Reason: Reason(i.Reason), Reruns: i.Reruns, Waited: i.Waited, Took: i.Took}
	for n, e := range i.Members {
		if !e.WantsRows() || e.ID() != "" || !e.IsPutOff() {
			info.Calls, info.Since = append(info.Calls, &e.Call), append(info.Since, i.Since(n))
		}
	}
	if len(info.Calls) > 0 {
		g.tellOf(info)
	}
}

// tellPutOff tells OnGroup of a call that was put off, and has been executed since start.
func (g *groups) tellPutOff(e *exec, start time.Time) {
	if g.limits.onGroup != nil {
		since := e.slot.Since()
		g.tellOf(GroupInfo{Calls: []*Call{&e.Call}, Since: []time.Time{since}, Reason: PutOff, Waited: start.Sub(since), Took: time.Since(start)})
	}
}

func (g *groups) tellOf(info GroupInfo) {
	info.Dialect = g.Traits.Load().Dialect
	g.telling.Lock()
	defer g.telling.Unlock()
	g.limits.onGroup(info)
}

// Reason says why a group was closed when it was.
type Reason uint8

const (
	Drained   = Reason(group.Drained)   // the group took all that was queued
	Full      = Reason(group.Full)      // it reached MaxLen
	FullBytes = Reason(group.FullBytes) // the next call would have taken it over MaxBytes
	// Halved: it left half of the callers to the next group, so that two groups alternate: while one half is committed, the
	// callers of the other come back.
	Halved = Reason(group.Halved)
	// Spread: it left calls to the groups that run beside it, each on its own connection, because that is faster.
	Spread = Reason(group.Spread)
	// PutOff: it is one call that another group has put off, and which was then executed by itself. Stats do not count it as a group.
	PutOff = Reason(group.Spread + 1)
)

func (r Reason) String() string {
	if r == PutOff {
		return "put off"
	}
	return group.Reason(r).String()
}
