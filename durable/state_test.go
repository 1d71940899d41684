package durable

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStatesHaveTheSpecificationsNames(t *testing.T) {
	for s, want := range map[State]string{
		Pending: "PENDING", Resolved: "RESOLVED", Rejected: "REJECTED",
		RejectedCanceled: "REJECTED_CANCELED", RejectedTimedout: "REJECTED_TIMEDOUT",
		State(9): "State(9)",
	} {
		assert.Equal(t, want, s.String())
	}
}

func TestOnlyAPendingPromiseIsNotDone(t *testing.T) {
	assert.False(t, Pending.Done())
	for _, s := range []State{Resolved, Rejected, RejectedCanceled, RejectedTimedout} {
		assert.True(t, s.Done(), s)
	}
}
