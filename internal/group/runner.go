package group

import (
	"context"
	"time"
)

// A Runner runs a queue's groups. With one lane one leader at a time uses it. Two calls may go on beside the next leader's
// calls: RunPutOff, and the Run of a group that is late, if Overtime is not 0.
type Runner[T any] interface {
	// Enter takes the turn for the next group, for a member that has waited since then. An error is that member's alone.
	Enter(ctx context.Context, since time.Time) error

	// Leave ends the turn. Run may have ended it already: then Leave does nothing.
	Leave()

	// Patience is how long a member may wait behind a running group at the most, and its error then; 0 for as long as it
	// takes, as where Overtime is not 0. Any goroutine may call it, and it may change.
	Patience() (time.Duration, error)

	// Overtime is how long a group may keep the lead before it is known how long groups take; with one lane, how long a member
	// that runs alone may keep it. 0 says that a group keeps it for as long as it takes.
	Overtime() time.Duration

	// Room is for how many groups there is room at present, beside each other. The queue asks now and then, while it is locked.
	Room() int

	// Run runs the members as one group, in their order. One member is run alone, in its own caller's goroutine if it has
	// one. Run answers each member whose End is Answered. It is the first to see the members claimed: if it may panic, or a
	// member may call runtime.Goexit, it first gives all of them the answer that they have in that case. The slice is the
	// queue's again when the group is over.
	Run(members []*T) Report

	// End says what becomes of a member. The queue asks once for each, when Run is over, however it ended, and the lead is
	// handed on.
	End(m *T) End

	// RunPutOff runs a member that was put off, and answers it. It runs in the goroutine of the member's caller, or in a new
	// one if the member is detached.
	RunPutOff(m *T)
}

// An End is what becomes of a member when its group is over.
type End uint8

const (
	// Answered members are told.
	Answered End = iota
	// PutOff members are run by [Runner.RunPutOff] first.
	PutOff
	// Kept members are not told: the runner has more to do with them. The queue does not touch a kept member any more, but
	// counts it: [Queue.Close] waits until the runner calls [Queue.Release] for it. Only a detached member can be kept.
	Kept
)

// A Report is what the queue learns of a group.
type Report struct {
	// Commit is what a group pays once: its commit, and the way to a server and back. Waiting for one more member saves it. If it
	// is 0, it is not known, and the queue learns nothing from the group. The Commit of a group of one counts for nothing.
	Commit time.Duration
	// Members is what the members took together, without what the group paid once; 0 if it is not known.
	Members time.Duration
	// Reruns is how many times the group, or a part of it, was rolled back and run again.
	Reruns int
	// Then is called in a new goroutine when every member has been told, or left to the runner. It is for the members that
	// are kept. It may be nil.
	Then func()
}
