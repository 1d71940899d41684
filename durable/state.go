package durable

import "fmt"

// State is the state of a promise. A promise begins PENDING and takes one of the other four states, once.
type State uint8

const (
	Pending          State = iota // no outcome yet
	Resolved                      // executed; there is a result
	Rejected                      // executed or refused; there is an error
	RejectedCanceled              // taken back: not executed, or interrupted and undone
	RejectedTimedout              // likewise, because its deadline passed
)

var names = [...]string{"PENDING", "RESOLVED", "REJECTED", "REJECTED_CANCELED", "REJECTED_TIMEDOUT"}

// String returns the specification's name of the state.
func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Done reports that the state is one of the four that never change.
func (s State) Done() bool { return s != Pending }
