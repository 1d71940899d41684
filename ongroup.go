package groupcommit

import (
	"time"

	"github.com/groupcommit/groupcommit/internal/group"
)

// OnGroup calls f for every group, after its commit and before its callers are answered. One goroutine at a time calls f,
// and it is one of the callers: every caller of the group waits for f. A panic in f is that caller's, after its commit.
// (With [Go] there may be no caller, and the panic ends the program.) f must not write to the database or close it: the
// groups that it would wait for may be waiting for f. A query with RETURNING that has the group to itself commits later, when its
// rows are closed, and one that its group has put off, because it has too many rows, is in no group.
func OnGroup(f func(GroupInfo)) Option {
	return databaseOption(func(l *limits) error {
		if f == nil {
			return badOption("OnGroup", "nil", "a function")
		}
		l.onGroup = f
		return nil
	})
}

// GroupInfo describes one group to [OnGroup].
type GroupInfo struct {
	Calls  []*Call // in the order in which they were executed; not to be kept or changed
	Reason Reason
	Reruns int           // how often the group, or a part of it, had to be rolled back and run again
	Waited time.Duration // of its oldest call, in the queue
	Took   time.Duration // from claim to commit
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
)

func (r Reason) String() string { return group.Reason(r).String() }
