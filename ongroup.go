package groupcommit

import (
	"time"

	"github.com/groupcommit/groupcommit/internal/group"
)

// OnGroup has f told of every group after its commit and before its callers are answered. f is called by one goroutine
// at a time, which is one of the callers: what f takes, every caller of the group waits, and a panic in f is that
// caller's, after its commit (with [Go] there may be no caller, and the panic ends the program). f must not write to the
// database or close it: the groups that it would wait for may be waiting for f.
func OnGroup(f func(GroupInfo)) Option {
	return databaseOption(func(l *limits) error {
		if f == nil {
			return badOption("OnGroup", "nil", "a function")
		}
		l.onGroup = f
		return nil
	})
}

// GroupInfo is what [OnGroup] is told of one group.
type GroupInfo struct {
	Calls  []*Call // in the order in which they were executed; not to be kept or changed
	Reason Reason
	Reruns int           // times it, or a part of it, had to be rolled back and run again
	Waited time.Duration // of its oldest call, in the queue
	Took   time.Duration // from claim to commit
}

// Reason is why a group was closed when it was.
type Reason = group.Reason

const (
	Drained   = group.Drained   // everything that was queued went into it
	Full      = group.Full      // it reached MaxLen
	FullBytes = group.FullBytes // the next call would have taken it over MaxBytes
	Halved    = group.Halved    // it left half of the callers to the next group: they come back while that one runs
)
